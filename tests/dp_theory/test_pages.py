"""The pages of docs/theory as they are printed: their equations, written anew from the page alone, against the code."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import root, root_scalar
from scipy.special import expit, ndtr
from scipy.stats import norm

from dp_theory import Addition, BoundaryFlips, Group, KeepHard, PracticeProblem, SpanProblem, influence, predict
from dp_theory.fitting.stack import _PowerLaws
from dp_theory.fitting.theory import with_floor
from dp_theory.loop.flips import observed_labels
from dp_theory.multiclass.softmax import bend
from dp_theory.noise import row_worth
from dp_theory.ridge.first_order import fluctuation, spectral_traces
from dp_theory.rules import Fourth, Moments

EXACT = 1e-10


DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_what_is_proved_has_each_page_and_its_status():
    guide = (DOCS / "theory.md").read_text(encoding="utf-8")
    table = guide.split("## What is proved")[1].split("\n## ")[0]
    assert set(re.findall(r"\]\(theory/([\w-]+)\.md", table)) == {page.stem for page in (DOCS / "theory").glob("*.md")}
    status = r"\| (theorem|derived|heuristic|measured|its conditions are a theorem)\b[^|]*\|$"
    assert all(re.search(status, row) for row in re.findall(r"(?m)^\| .*$", table)[1:])


def zero_of(function, low, high):
    """The root between two places."""
    return float(root_scalar(function, bracket=(low, high), xtol=1e-16).root)


def line(low, high, order=400):
    """Nodes and standard normal weights of an interval that is split at 0, where labels may jump."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    halves = [(low, 0.0), (0.0, high)] if low < 0 < high else [(low, high)]
    t = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in halves])
    w = np.concatenate([(b - a) / 2 * weights for a, b in halves])
    return t, w * norm.pdf(t)


def label_moments(s, b):
    """(T2.11), ζ being standardised."""
    return np.array([ndtr(s * b), s * norm.pdf(b), ndtr(s * b) - s * b * norm.pdf(b)])


def test_the_span_recipe_is_its_page():
    """(T2.9) with (T2.11): a soft verifier, a labeller that is not the truth, and flips."""
    truth = np.array([1.0, 0.0, 0.0])
    labeller = np.array([0.8, 0.6, 0.0])
    rule = np.array([0.7, 0.1, np.sqrt(1 - 0.49 - 0.01)])
    phi, lam, flip, ratio = 0.3, 0.02, 0.1, 1.3

    t, pdf = line(-12, 12)
    rho = labeller @ rule
    r = np.sqrt(1 - rho**2)
    e = (labeller - rho * rule) / r
    own = {s: label_moments(s, rho * t / r) for s in (1, -1)}
    seen = {s: pdf * ratio * ((1 - flip) * own[s] + flip * own[-s]) for s in (1, -1)}

    def means(delta, power):
        """E of q̃^power times 1, and times y g and g gᵀ in the frame (rule, e, the rest)."""
        zero, one, two = 0.0, np.zeros(3), np.zeros((3, 3))
        for s, (mass, zeta, zeta2) in seen.items():
            q = expit(2 * s * t)
            soft = (q / (1 + q * delta)) ** power
            zero += soft @ mass
            one += s * np.array([soft @ (t * mass), soft @ zeta, 0])
            two[:2, :2] += [[soft @ (t * t * mass), soft @ (t * zeta)], [soft @ (t * zeta), soft @ zeta2]]
            two[2, 2] += soft @ mass
        return zero, one, two

    delta = zero_of(lambda x: lam * x + x * means(x, 1)[0] - phi, 1e-6, phi / lam)
    _, c, second = means(delta, 1)
    a = np.linalg.solve(lam * np.eye(3) + second, c)
    zero, one, two = means(delta, 2)
    spread = phi * (delta / phi) ** 2
    variance = spread * (zero - 2 * a @ one + a @ two @ a) / (1 - spread * zero)
    third = np.cross(rule, e)
    overlap = truth @ (np.column_stack([rule, e, third]) @ a)
    norm2 = a @ a + variance

    group = Group(ratio, labeller=labeller, flip=flip, along=rule, weight=lambda t, y: expit(2 * y * t))
    found = predict(SpanProblem(truth, [group], phi, lam))
    np.testing.assert_allclose(found.overlap, overlap, rtol=EXACT)
    np.testing.assert_allclose(found.squared_norm, norm2, rtol=EXACT)
    np.testing.assert_allclose(found.test_error, np.arccos(overlap / np.sqrt(norm2)) / np.pi, rtol=EXACT)


def test_the_loop_is_its_page():
    """(T3.9) to (T3.18) for two rounds, all unknowns of the second stage at once."""
    phi, lam, alpha, candidates = 0.5, 0.03, 0.4, 2.0

    # stage 0, plain rows: t = g, and (T3.16) is a number
    x0 = zero_of(lambda x: phi / (lam + 1 / (1 + x)) - x, 1e-9, 1e3)
    b0 = 1 / (1 + x0)
    m0 = 1 / (lam + b0)
    c1 = np.sqrt(2 / np.pi)  # E[y g]
    a0 = zero_of(lambda a: m0 * (b0 * (c1 - a) + b0 * a) - a, 0, 9)
    c00 = zero_of(lambda c: phi * m0**2 * b0**2 * (1 - 2 * a0 * c1 + a0**2 + c) - c, 0, 99)

    # the cohort of stage 0
    length = np.hypot(a0, np.sqrt(c00))
    rho, r = a0 / length, np.sqrt(c00) / length
    t, pdf = line(-alpha, alpha)
    mass, linear, second = 0.0, np.zeros(2), np.zeros((2, 2))
    for s in (1, -1):
        of = candidates * pdf * label_moments(s, rho * t / r)
        mass += of[0].sum()
        linear += s * np.array([t @ of[0], of[1].sum()])
        second += [[t**2 @ of[0], t @ of[1]], [t @ of[1], of[2].sum()]]
    g, z0 = np.array([rho, r]), length * r * np.array([r, -rho])

    def excess(unknowns):
        a1, c10, c11, x10, x11 = unknowns
        a, c = np.array([a0, a1]), np.array([[c00, c10], [c10, c11]])
        x = np.array([[x0, 0], [x10, x11]])
        plain = np.linalg.inv(np.eye(2) + x)  # B of (T3.16), of plain rows
        gamma = plain.copy()
        ones = np.ones(2)
        ff = plain @ (np.outer(ones - a * c1, ones) - c1 * np.outer(ones, a) + np.outer(a, a) + c) @ plain.T
        fg = plain @ (c1 * ones - a)
        b = 1 / (1 + x11)  # of the cohort, which trains stage 1 alone
        view = a1 * g + c10 / c00 * z0  # (T3.15)
        ff[1, 1] += b**2 * (mass - 2 * view @ linear + view @ second @ view + mass * (c11 - c10**2 / c00))
        f_view = b * (linear - second @ view)
        fg[1] += f_view @ g
        gamma[1, 1] += mass * b
        gamma[1, 0] -= (f_view @ z0 + mass * b * c10) / c00  # (T3.17)
        m = np.linalg.inv(lam * np.eye(2) + gamma)
        pull = m @ (fg + gamma @ a)
        off_a, off_c, off_x = pull - a, phi * m @ ff @ m.T - c, phi * m - x
        return [off_a[1], off_c[1, 0], off_c[1, 1], off_x[1, 0], off_x[1, 1]]

    a1, _, c11, _, _ = root(excess, [a0, c00 / 2, c00, 0.0, x0 / 2], tol=1e-14).x
    errors = np.arctan2(np.sqrt([c00, c11]), [a0, a1]) / np.pi
    found = predict(PracticeProblem(phi, lam, [Addition(candidates, keep=KeepHard(alpha))]))
    np.testing.assert_allclose(found.test_error, errors, rtol=EXACT)


def sampled(rho, alpha):
    """Nodes of kept rows (t, v, y) and their weights per kept row, for keep-hard and a truth of cosine rho."""
    t, pdf = line(-alpha, alpha, 60)
    sine = np.sqrt(1 - rho**2)
    nodes, weights = np.polynomial.legendre.leggauss(120)
    rows = []
    for ti, wi in zip(t, pdf, strict=True):
        cut = -rho * ti / sine
        for a, b in ((-11.0, cut), (cut, 11.0)):
            v = (b - a) / 2 * nodes + (a + b) / 2
            y = np.full_like(v, np.sign(a + b - 2 * cut))
            rows.append(np.stack([np.full_like(v, ti), v, y, wi * (b - a) / 2 * weights * norm.pdf(v)]))
    t, v, y, w = np.concatenate(rows, axis=1)
    return t, v, y, w / w.sum()


def test_the_covariance_of_the_plane_is_its_page():
    """(T5.3) to (T5.10), with moments by a sum over rows rather than in closed form."""
    rho, alpha, psi, lam = 0.8, 0.9, 0.4, 0.07
    t, v, y, w = sampled(rho, alpha)
    z = np.stack([t, v])
    size = np.array([w @ t**2, 1.0])
    root = np.sqrt((lam + 1 + psi) ** 2 - 4 * psi)
    both = lam + 1 + psi + root
    ell = (root + lam - 1 + psi) / 2
    kappa = 2 * psi / (root * both)
    rr, rk = kappa, ell * both / (2 * root**2) - 1
    kk = (lam * (1 + psi) + (1 - psi) ** 2) * both**2 / (4 * psi * root**3) - 1
    step = 1e-5

    def log_kappa(x):
        s = np.sqrt((lam + 1 + x) ** 2 - 4 * x)
        return np.log(2 * x / (s * (lam + 1 + x + s)))

    ell_r = (ell * kappa + 2) / root
    by_psi = (8 * (log_kappa(psi + step) - log_kappa(psi - step)) - log_kappa(psi + 2 * step)) / (12 * step)
    by_psi += log_kappa(psi - 2 * step) / (12 * step)
    ell_k = 1 / root - lam / root**2 * (2 * (lam + 1 + psi) / root + 1) - 2 * by_psi

    k = 1 / (ell + size)
    a = k * (z @ (w * y))
    eps = y - a @ z
    e = ell * a
    q = w @ eps**2
    second = z * (w * eps**2) @ z.T
    c = np.outer(k, k) * (second - np.outer(e, e) + rr * (np.diag(size) * q + np.outer(e, e)))
    third = (z * (w * eps)) @ (z**2).T  # E[ε z_i z_j²]
    delta = k * (e * (ell_r - rr * (size @ k) - (rr - 1) * size * k) - third @ k)
    with_a = np.diag(second) - e**2 + rk * (size * q + e**2)
    delta_o = ell_k + (size @ np.diag(c) - 2 * e @ delta - 2 * k @ with_a) / q
    c_o = (k * (z @ (w * eps**3) + (2 * rk - 1) * q * e) - 2 * c @ e) / q
    c_oo = w @ eps**4 / q**2 + 2 * kk - 1 - 4 / q * e @ (c_o + c @ e / q)

    moments = Moments(1.0, size[0], w @ (y * v), w @ (y * t))
    fourth = Fourth(*(w @ x for x in (t**4, y * t**3, y * t**2 * v, y * t * v**2, y * v**3)))
    _, shift, covariance = fluctuation(moments, fourth, spectral_traces(psi, lam), ())
    np.testing.assert_allclose(shift[:2], delta, rtol=EXACT)
    np.testing.assert_allclose(covariance, np.block([[c, c_o[:, None]], [c_o, c_oo]]), rtol=EXACT)
    np.testing.assert_allclose(shift[2], delta_o, rtol=1e-8)  # its derivative is by differences


def test_the_trace_of_softmax_is_its_page():
    """(T6.5), against the matrices."""
    p = np.array([0.5, 0.3, 0.15, 0.05])
    h = np.diag(p) - np.outer(p, p)
    for delta in (0.1, 3.0):
        whole = np.trace(h @ np.linalg.inv(np.eye(4) + delta * h))
        np.testing.assert_allclose(bend(p[None], delta), whole, rtol=1e-12)


def test_the_influence_is_its_page():
    """(T7.1) to (T7.9), with labels seen and a fixed pool."""
    rho, alpha, phi, lam = 0.8, 0.9, 0.3, 0.05
    t, v, y, w = sampled(rho, alpha)
    p = 2 * ndtr(alpha) - 1
    g = np.stack([t, v])
    psi, ridge = phi / p, lam / p
    r = zero_of(lambda r: (1 - r) * (psi / r - 1) - ridge, 1e-9, min(1, psi))
    ell = psi / r - 1
    c, second = g @ (w * y), (g * w) @ g.T
    inverse = np.linalg.inv(ell * np.eye(2) + second)
    a = inverse @ c
    q = 1 - c @ a - ell * a @ a
    kappa = r / (ell + 1 - r)
    u0 = np.array([rho, np.sqrt(1 - rho**2)])
    size = a @ a + kappa * q
    off = size - (a @ u0) ** 2
    big_c = (a @ u0) / size
    h = inverse @ (u0 - big_c * (1 - kappa * ell) * a)
    scale = 1 / (np.pi * np.sqrt(off))

    by_c = -scale * (h + big_c * kappa * a)
    by_a = scale / 2 * (np.outer(h, a) + np.outer(a, h) + big_c * kappa * np.outer(a, a))

    def through(d_psi, d_ridge):
        d_r = ((1 - r) * d_psi - r * d_ridge) / (ell + 1 - r)
        d_ell = (d_psi - psi * d_r / r) / r
        d_kappa = (d_r - kappa * (d_ell - d_r)) / (ell + 1 - r)
        return scale * (h @ a * d_ell + big_c * q / 2 * d_kappa)

    inner = psi * through(1, 0) + ridge * through(0, 1) + c @ by_c + (second * by_a).sum()
    const = -inner / p - big_c * kappa * scale / (2 * p)

    at, label = 0.6, 1.0
    cut = -rho * at / u0[1]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    v = (11 - cut) / 2 * nodes + (11 + cut) / 2  # the rows with this label
    weights = weights * norm.pdf(v)
    weights = weights / weights.sum()
    eps = label - a[0] * at - a[1] * v
    worth = weights @ ((h[0] * at + h[1] * v) * eps - big_c * kappa / 2 * eps**2)
    expected = const - scale / p * worth
    np.testing.assert_allclose(influence(KeepHard(alpha), at, label, rho=rho, phi=phi, lam=lam), expected, rtol=EXACT)


@pytest.mark.parametrize("eps", [0.5, 0.3])
def test_probit_labels_are_their_page(eps):
    """(T8.4) is the integral (T8.3) of (T8.1)."""
    width, drift, blur = 0.3, 0.25, 0.6
    nodes, weights = np.polynomial.legendre.leggauss(400)
    cut = -drift / blur
    expected = np.zeros((2, 3))
    for low, high, sign in ((-11.0, cut, -1), (cut, 11.0, 1)):
        zeta = (high - low) / 2 * nodes + (high + low) / 2
        mass = weights * (high - low) / 2 * norm.pdf(zeta)
        wrong = eps * 2 * ndtr(-np.abs(drift + blur * zeta) / width)
        for row, s in enumerate((1, -1)):
            share = 1 - wrong if s == sign else wrong
            expected[row] += [(mass * share) @ zeta**j for j in range(3)]
    found = observed_labels(BoundaryFlips(width, eps=eps), np.array([drift]), blur, 24)
    np.testing.assert_allclose(found[..., 0], expected, rtol=EXACT)


def test_a_row_near_the_boundary_is_worth_what_its_page_says():
    """(T8.9), with (T8.5) for the width."""
    for share in (0.01, 0.06, 0.2):
        width = np.tan(np.pi * share)
        expected = 1 + (1 - 2 / np.pi) / width**2
        assert row_worth(BoundaryFlips.of_share(share), 1e-5) == pytest.approx(expected, rel=2e-3)


def test_the_floor_and_the_power_law_are_their_page():
    """(T9.1), (T9.2) and (T9.13)."""
    error, deviation, floor, d = 0.12, 0.004, 0.05, 300.0
    cosine = np.cos(np.pi * error) * np.cos(np.pi * floor)
    own = (np.cos(np.pi * floor) * np.sin(np.pi * error)) ** 2 * np.pi**2 * deviation**2
    off = (np.sin(np.pi * floor) * np.sin(np.pi * error)) ** 2 / d
    found = with_floor(error, deviation, floor, d)
    expected = np.arccos(cosine) / np.pi, np.sqrt((own + off) / (1 - cosine**2)) / np.pi
    np.testing.assert_allclose(found, expected, rtol=EXACT)

    law = _PowerLaws(*np.array([[-1.7], [-0.4], [np.log(0.03)], [0.0]]))
    e = np.exp(law.log_error(np.array([2.0])))
    assert np.log(e - 0.03) == pytest.approx(-1.7 - 0.4 * 2.0, rel=EXACT)
