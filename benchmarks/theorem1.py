"""Theorem 1 over arrays of its four parameters, against the special functions that it needs.

Keep-hard needs, per prediction: ndtr at alpha, alpha/√(1 - rho²) and rho·alpha/√(1 - rho²) (Lemma 1), exp at -alpha²/2,
three square roots, and one arctan2. The rival calls only these and reuses its memory, which no program can beat.
What is predicted is checked against the printed formulas.
"""

import numpy as np
from _timing import row, seconds
from scipy.special import erf, ndtr

from dp_theory import KeepHard, Problem, predict

COUNT, BLOCK = 1 << 18, 8192


def printed(alpha: np.ndarray, rho: np.ndarray, phi: np.ndarray, lam: np.ndarray) -> np.ndarray:
    sine = np.sqrt(1 - rho**2)
    density = np.sqrt(2 / np.pi) * np.exp(-(alpha**2) / 2)
    p = erf(alpha / np.sqrt(2))
    gamma = p - alpha * density
    beta = np.sqrt(2 / np.pi) * sine * erf(alpha / sine / np.sqrt(2))
    beta_tilde = rho * np.sqrt(2 / np.pi) * erf(alpha / sine / np.sqrt(2)) - density * erf(
        rho * alpha / sine / np.sqrt(2)
    )
    b = lam + p - phi
    slope = np.sqrt(b**2 + 4 * lam * phi)
    u = (slope - b) / 2
    ell = lam + u
    a_s, a_v = beta_tilde / (ell + gamma), beta / (ell + p)
    outside = u / (ell * slope) * (p - beta_tilde * a_s - beta * a_v - ell * (a_s**2 + a_v**2))
    return np.arccos((rho * a_s + sine * a_v) / np.sqrt(a_s**2 + a_v**2 + outside)) / np.pi


def main() -> None:
    rng = np.random.default_rng(0)
    alpha, rho = rng.uniform(0.5, 3, COUNT), rng.uniform(-0.99, 0.99, COUNT)
    phi, lam = rng.uniform(0.05, 3, COUNT), 10 ** rng.uniform(-6, 1, COUNT)
    sine = np.sqrt(1 - rho**2)
    quantiles, exponent = (alpha, alpha / sine, rho / sine * alpha), -(alpha**2) / 2
    roots = (sine**2, (lam + 0.5 - phi) ** 2 + 4 * lam * phi, phi)
    out = np.empty(BLOCK)

    def rival() -> None:
        for start in range(0, COUNT, BLOCK):
            block = slice(start, start + BLOCK)
            for x in quantiles:
                ndtr(x[block], out=out)
            np.exp(exponent[block], out=out)
            for x in roots:
                np.sqrt(x[block], out=out)
            np.arctan2(phi[block], rho[block], out=out)

    problem = Problem(KeepHard(alpha), rho, phi, lam)
    ours, theirs = seconds(lambda: predict(problem), rival, repeats=20)
    np.testing.assert_allclose(predict(problem).test_error, printed(alpha, rho, phi, lam), rtol=1e-5)
    row("Theorem 1, 1e7/s, 60 % of its functions", f"{COUNT / ours:.2e}/s", f"{COUNT / theirs:.2e}/s", theirs / ours)


if __name__ == "__main__":
    main()
