"use strict";
// Practice beside static data on two classes in the plane. The learner is logistic regression on random Fourier features.

const FEATURES = 60, WIDTH = 1.1; // of the learner
const ROUND = 24, ADDITIONS = 5, TOTAL = ROUND * (ADDITIONS + 1); // samples
const BATCH = 16, RATE = 0.3, DECAY = 1e-4, STEPS = 1800, EVERY = 30, PATIENCE = 3;
const EXTENT = 2.6; // of the plane that is drawn

// A small random number generator (mulberry32), so that a seed repeats what it showed.
function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const gauss = (draw) => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
const boundary = (x) => 0.8 * Math.sin(2.2 * x);
const truth = ([x, y]) => (y > boundary(x) ? 1 : 0);

// The generator: a point of the class that is asked for.
function generate(label, draw) {
  for (;;) {
    const point = [gauss(draw), gauss(draw)];
    if (truth(point) === label) return point;
  }
}

class ToyLearner {
  constructor(draw) {
    this.waves = Array.from({ length: FEATURES }, () => [gauss(draw) * WIDTH, gauss(draw) * WIDTH, 2 * Math.PI * draw()]);
    this.weights = new Float64Array(FEATURES + 1);
  }
  features([x, y]) {
    return this.waves.map(([a, b, c]) => Math.cos(a * x + b * y + c));
  }
  probability(features) {
    let logit = this.weights[FEATURES];
    for (let i = 0; i < FEATURES; i++) logit += this.weights[i] * features[i];
    return 1 / (1 + Math.exp(-logit));
  }
  step(rows) {
    for (const { features, label } of rows) {
      const slope = (this.probability(features) - label) * RATE / rows.length;
      for (let i = 0; i < FEATURES; i++) this.weights[i] -= slope * features[i] + RATE * DECAY * this.weights[i] / rows.length;
      this.weights[FEATURES] -= slope;
    }
  }
}

// One arm: `candidates` plain points for each added sample, of which the most uncertain is kept; 0: all samples at once.
class ToyArm {
  constructor(seed, candidates) {
    this.draw = random(seed * 7919 + 13);
    this.learner = new ToyLearner(random(seed + 1));
    this.candidates = candidates;
    this.pool = [];
    this.curve = [];
    this.steps = 0;
    this.best = 0;
    this.stale = 0;
    const other = random(seed * 104729 + 7); // real examples: the same for both arms
    const real = (count) => Array.from({ length: count }, () => [gauss(other), gauss(other)]);
    this.validation = this.examples(real(200));
    this.test = this.examples(real(1000));
    this.add(candidates ? ROUND : TOTAL, 1);
  }
  examples(points) {
    return points.map((point) => ({ point, label: truth(point), features: this.learner.features(point) }));
  }
  add(count, candidates) {
    for (let i = 0; i < count; i++) {
      let chosen = null;
      for (let k = 0; k < candidates; k++) {
        const [example] = this.examples([generate(i % 2, this.draw)]);
        const doubt = -Math.abs(this.learner.probability(example.features) - 0.5);
        if (chosen === null || doubt > chosen.doubt) chosen = { ...example, doubt, round: this.pool.length };
      }
      this.pool.push(chosen);
    }
    this.newest = count;
  }
  accuracy(examples) {
    const right = examples.filter(({ features, label }) => (this.learner.probability(features) > 0.5) === (label === 1));
    return right.length / examples.length;
  }
  advance() {
    const rows = Array.from({ length: BATCH }, () => this.pool[Math.floor(this.draw() * this.pool.length)]);
    this.learner.step(rows);
    this.steps += 1;
    if (this.steps % EVERY) return;
    const validation = this.accuracy(this.validation);
    this.stale = validation > this.best ? 0 : this.stale + 1;
    this.best = Math.max(this.best, validation);
    this.curve.push(this.accuracy(this.test));
    if (this.candidates && this.stale >= PATIENCE && this.pool.length < TOTAL) {
      this.add(ROUND, this.candidates);
      this.stale = 0;
    }
  }
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawArm(id, arm) {
  const canvas = document.getElementById(id);
  const context = canvas.getContext("2d");
  const size = canvas.width, cell = 11;
  const to = ([x, y]) => [(x / EXTENT + 1) * size / 2, (1 - y / EXTENT) * size / 2];
  context.fillStyle = colour("--ground");
  context.fillRect(0, 0, size, size);
  context.fillStyle = colour("--soft");
  for (let i = 0; i < size; i += cell) {
    for (let j = 0; j < size; j += cell) {
      const point = [((i + cell / 2) / size * 2 - 1) * EXTENT, (1 - (j + cell / 2) / size * 2) * EXTENT];
      const unsure = 1 - 2 * Math.abs(arm.learner.probability(arm.learner.features(point)) - 0.5);
      context.globalAlpha = 0.55 * unsure;
      context.fillRect(i, j, cell, cell);
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1.5;
  context.beginPath();
  for (let x = -EXTENT; x <= EXTENT; x += 0.05) context.lineTo(...to([x, boundary(x)]));
  context.stroke();
  arm.pool.forEach(({ point, label }, index) => {
    const [x, y] = to(point);
    context.beginPath();
    if (label) context.arc(x, y, 4, 0, 7);
    else context.rect(x - 3.5, y - 3.5, 7, 7);
    context.fillStyle = colour(label ? "--first" : "--second");
    context.fill();
    if (index >= arm.pool.length - arm.newest && arm.candidates) context.stroke();
  });
  const reached = arm.curve.length ? `, ${percent(arm.curve[arm.curve.length - 1])} right` : "";
  document.getElementById(`${id}-out`).textContent = `${arm.pool.length} samples${reached}`;
}

function drawError(arms) {
  const svg = svgOf("error");
  const [low, high] = [0.003, 0.3];
  const x = (i) => 58 + 380 * (i + 1) * EVERY / STEPS;
  const y = (error) => 15 + 150 * Math.log(high / Math.min(Math.max(error, low), high)) / Math.log(high / low);
  svg.replaceChildren();
  for (const level of [0.3, 0.1, 0.03, 0.01, 0.003]) {
    put(svg, "line", { class: "grid", x1: 58, x2: 438, y1: y(level), y2: y(level) });
    put(svg, "text", { x: 52, y: y(level) + 4, "text-anchor": "end" }, `${+(100 * level).toFixed(1)} %`);
  }
  for (const steps of [0, STEPS / 3, 2 * STEPS / 3, STEPS]) {
    put(svg, "text", { x: x(steps / EVERY - 1), y: 182, "text-anchor": "middle" }, steps);
  }
  put(svg, "text", { x: 253, y: 200, "text-anchor": "middle" }, "training steps");
  for (const [name, arm] of Object.entries(arms)) {
    const d = arm.curve.map((a, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(1 - a).toFixed(1)}`).join("");
    put(svg, "path", { class: name === "practice" ? "direct" : "plain", d });
  }
}

const toy = { seed: 1, playing: false, arms: null };

function restart() {
  toy.arms = { practice: new ToyArm(toy.seed, slider("candidates")), static: new ToyArm(toy.seed, 0) };
  show();
}

function show() {
  for (const name in toy.arms) drawArm(name, toy.arms[name]);
  drawError(toy.arms);
  document.getElementById("candidates-out").textContent = slider("candidates");
  document.getElementById("play").textContent = toy.playing ? "pause" : "play";
}

function frame() {
  if (!toy.playing) return;
  for (let i = 0; i < 6; i++) for (const name in toy.arms) toy.arms[name].advance();
  toy.playing = toy.arms.practice.steps < STEPS;
  show();
  requestAnimationFrame(frame);
}

// The mean difference of the arms' last accuracies over seeds, and its standard error.
function overSeeds(count, candidates) {
  const differences = [];
  for (let seed = 1; seed <= count; seed++) {
    const arms = [new ToyArm(seed, candidates), new ToyArm(seed, 0)];
    for (const arm of arms) while (arm.steps < STEPS) arm.advance();
    const [practice, plain] = arms.map((arm) => arm.curve[arm.curve.length - 1]);
    differences.push(practice - plain);
  }
  const mean = differences.reduce((a, b) => a + b) / count;
  const variance = differences.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (count - 1);
  return { mean, se: Math.sqrt(variance / count) };
}

document.getElementById("play").addEventListener("click", () => {
  if (toy.arms.practice.steps >= STEPS) restart();
  toy.playing = !toy.playing;
  frame();
  show();
});
document.getElementById("again").addEventListener("click", () => { toy.seed += 1; restart(); });
document.getElementById("candidates").addEventListener("input", restart);
document.getElementById("many").addEventListener("click", () => {
  document.getElementById("verdict").textContent = "computing …";
  setTimeout(() => {
    const { mean, se } = overSeeds(30, slider("candidates"));
    document.getElementById("verdict").textContent = `Over 30 seeds practice is ${(100 * mean).toFixed(2)} ± ` +
      `${(100 * se).toFixed(2)} points of accuracy above as many plain samples.`;
  }, 20);
});
for (let i = 0; i < 900; i++) { // the page opens in the middle of a run, so that there is something to see
  if (!toy.arms) restart();
  for (const name in toy.arms) toy.arms[name].advance();
}
show();
