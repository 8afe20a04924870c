"use strict";
// Theorem 1 with Lemmas 1 and 2: the error of ridge regression on rows that a rule selects.

const SQRT2PI = Math.sqrt(2 * Math.PI);
const density = (x) => Math.exp(-x * x / 2) / SQRT2PI;

// erf by its series near 0, by the continued fraction of erfc further out.
function erf(x) {
  if (x < 0) return -erf(-x);
  if (x < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 80; n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 80; n > 0; n--) fraction = n / 2 / (x + fraction);
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

const within = (x) => erf(x / Math.SQRT2); // P(|G| <= x)

// p, gamma, beta and beta_tilde of a rule: Lemma 1 for hard rows, Lemma 2 for easy ones, which are the others.
function constants(rule, alpha, rho) {
  const sine = Math.sqrt(1 - rho * rho);
  const all = { p: 1, gamma: 1, beta: 2 * density(0) * sine, betaTilde: 2 * density(0) * rho };
  if (rule === "all") return all;
  const p = within(alpha);
  const first = within(alpha / sine);
  const second = within(rho / sine * alpha);
  const hard = {
    p,
    gamma: p - 2 * alpha * density(alpha),
    beta: 2 * density(0) * sine * first,
    betaTilde: 2 * (rho * density(0) * first - density(alpha) * second),
  };
  if (rule === "hard") return hard;
  return Object.fromEntries(Object.keys(all).map((key) => [key, all[key] - hard[key]]));
}

// The error of training on `rows` rows per dimension that are drawn as selected, with a ridge per training row.
function testError(rule, alpha, rho, lamOfRow, rows) {
  const { p, gamma, beta, betaTilde } = constants(rule, alpha, rho);
  const phi = p / rows; // dimensions per row of the pool that these rows would have been pruned from
  const lam = p * lamOfRow;
  const a = p - phi + lam;
  const root = Math.sqrt(a * a + 4 * phi * lam);
  const m = a > 0 ? 2 / (root + a) : (root - a) / (2 * phi * lam);
  const s = gamma / (1 + phi * m);
  const mTilde = 1 / (s + lam);
  const mSlope = m * m / (1 - phi * p * (m / (1 + phi * m)) ** 2);
  const mTildeSlope = mTilde ** 2 * (1 + gamma * phi * mSlope / (1 + phi * m) ** 2);
  const r = beta ** 2 * m + betaTilde ** 2 * mTilde;
  const rSlope = beta ** 2 * mSlope + betaTilde ** 2 * mTildeSlope;
  const m0 = Math.sqrt(1 - rho * rho) * beta * m + rho * betaTilde * mTilde;
  const nu0 = p * phi * mSlope + rSlope - 2 * phi * mSlope * r / (1 + phi * m);
  return Math.atan2(Math.sqrt(Math.max(nu0 - m0 * m0, 0)), Math.abs(m0)) / Math.PI;
}

// The plot

const svgOf = (id) => document.getElementById(id);
const put = (parent, name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
};
const percent = (share) => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

const VIEW = { left: 58, right: 448, top: 12, bottom: 282, rows: [0.2, 200], error: [0.003, 0.5] };
const along = (value, [low, high], from, to) => from + (to - from) * Math.log(value / low) / Math.log(high / low);
const xOf = (rows) => along(rows, VIEW.rows, VIEW.left, VIEW.right);
const yOf = (error) => along(Math.max(error, VIEW.error[0]), VIEW.error, VIEW.bottom, VIEW.top);

const state = { rule: "hard" };
const slider = (id) => Number(document.getElementById(id).value);

function settings() {
  return { rule: state.rule, alpha: Math.exp(slider("alpha")), rho: Math.cos(slider("angle") * Math.PI / 180),
    lam: Math.exp(slider("lam")), rows: Math.exp(slider("rows")) };
}

// The error of each way to spend `rows` generated rows per dimension.
function errorsAt({ rule, alpha, rho, lam }, rows) {
  return {
    plain: testError("all", alpha, rho, lam, rows),
    pruned: testError(rule, alpha, rho, lam, constants(rule, alpha, rho).p * rows),
    direct: testError(rule, alpha, rho, lam, rows),
  };
}

// How many times as many plain rows reach an error; Infinity if 10,000 times do not.
function timesPlain(chosen, error) {
  for (let times = 0.01; times < 1e4; times *= 1.01) {
    if (testError("all", chosen.alpha, chosen.rho, chosen.lam, chosen.rows * times) <= error) return times;
  }
  return Infinity;
}

function drawTheory() {
  const chosen = settings();
  const kept = constants(chosen.rule, chosen.alpha, chosen.rho).p;
  document.getElementById("alpha-out").textContent = `${chosen.alpha.toFixed(2)}, ${percent(kept)} of all`;
  document.getElementById("angle-out").textContent = `${slider("angle")}°, ρ = ${chosen.rho.toFixed(3)}`;
  document.getElementById("lam-out").textContent = chosen.lam.toPrecision(2);
  document.getElementById("rows-out").textContent = chosen.rows.toPrecision(3);
  const svg = svgOf("curves");
  svg.replaceChildren();
  for (const error of [0.003, 0.01, 0.03, 0.1, 0.3]) {
    put(svg, "line", { class: "grid", x1: VIEW.left, x2: VIEW.right, y1: yOf(error), y2: yOf(error) });
    put(svg, "text", { x: VIEW.left - 6, y: yOf(error) + 4, "text-anchor": "end" }, `${100 * error} %`);
  }
  for (const rows of [0.3, 1, 3, 10, 30, 100]) {
    put(svg, "line", { class: "grid", x1: xOf(rows), x2: xOf(rows), y1: VIEW.top, y2: VIEW.bottom });
    put(svg, "text", { x: xOf(rows), y: VIEW.bottom + 17, "text-anchor": "middle" }, rows);
  }
  put(svg, "text", { x: (VIEW.left + VIEW.right) / 2, y: 322, "text-anchor": "middle" }, "generated rows per dimension");
  const paths = { plain: "", pruned: "", direct: "" };
  for (let i = 0; i <= 160; i++) {
    const rows = VIEW.rows[0] * (VIEW.rows[1] / VIEW.rows[0]) ** (i / 160);
    const errors = errorsAt(chosen, rows);
    for (const name in paths) paths[name] += `${i ? "L" : "M"}${xOf(rows).toFixed(1)} ${yOf(errors[name]).toFixed(1)}`;
  }
  for (const name in paths) put(svg, "path", { class: name, d: paths[name] });
  put(svg, "line", { class: "reading", x1: xOf(chosen.rows), x2: xOf(chosen.rows), y1: VIEW.top, y2: VIEW.bottom });
  const here = errorsAt(chosen, chosen.rows);
  const times = timesPlain(chosen, here.direct);
  const worth = times === Infinity ? "more than 10,000 times" : `${times.toPrecision(2)} times`;
  document.getElementById("reading").textContent = `At ${chosen.rows.toPrecision(3)} rows per dimension: plain ` +
    `${percent(here.plain)}, pruned ${percent(here.pruned)}, drawn as selected ${percent(here.direct)} wrong. ` +
    `Plain data reaches the last with ${worth} as many rows.`;
}

for (const id of ["alpha", "angle", "lam", "rows"]) document.getElementById(id).addEventListener("input", drawTheory);
for (const button of document.querySelectorAll("[data-rule]")) {
  button.addEventListener("click", () => {
    state.rule = button.dataset.rule;
    for (const each of document.querySelectorAll("[data-rule]")) each.setAttribute("aria-pressed", each === button);
    drawTheory();
  });
}
drawTheory();
