"""The paper's lemmas and Theorem 1 as printed, in mpmath's numbers of any precision."""

import mpmath as mp

from dp_theory import KeepEasy, KeepHard, Random

KINDS = {"keep-hard": KeepHard, "keep-easy": KeepEasy, "random": Random}


def printed_moments(kind, value, rho):
    """Lemmas 1 and 2 as printed (p, gamma, beta, beta_tilde), with the limits at rho = ±1."""
    pdf = mp.npdf
    sine = mp.sqrt(1 - rho**2)
    all_kept = (mp.mpf(1), mp.mpf(1), 2 * pdf(0) * sine, 2 * rho * pdf(0))
    if kind == "random":
        return tuple(value * x for x in all_kept)
    if mp.isinf(value):
        return all_kept
    p = 2 * mp.ncdf(value) - 1
    gamma = p - 2 * value * pdf(value)
    if abs(rho) == 1:
        eps1, eps2 = mp.mpf(1), mp.sign(rho)
    else:
        eps1 = 2 * mp.ncdf(value / sine) - 1
        eps2 = 2 * mp.ncdf(rho / sine * value) - 1
    hard = (p, gamma, 2 * pdf(0) * sine * eps1, 2 * (rho * pdf(0) * eps1 - pdf(value) * eps2))
    return hard if kind == "keep-hard" else tuple(a - b for a, b in zip(all_kept, hard, strict=True))


def printed_theorem1(moments, rho, phi, lam, truth=None):
    """Theorem 1 as printed, with r of the proof in C.2.

    truth: its cosines with the labeller's part across the pruner, and with the pruner, where it is not the labeller
    (Theorem 1 of 2511.03492).
    """
    across, along = truth or (mp.sqrt(1 - rho**2), rho)
    p, gamma, beta, beta_tilde = moments
    z = -lam
    m = (p - phi - z - mp.sqrt((p - phi - z) ** 2 - 4 * phi * z)) / (2 * phi * z)
    s = gamma / (1 + phi * m)
    m_tilde = 1 / (s - z)
    dm = m**2 / (1 - phi * p * m**2 / (1 + phi * m) ** 2)
    dm_tilde = m_tilde**2 * (1 + gamma * phi * dm / (1 + phi * m) ** 2)
    r = beta**2 * m + beta_tilde**2 * m_tilde
    dr = beta**2 * dm + beta_tilde**2 * dm_tilde
    m0 = across * beta * m + along * beta_tilde * m_tilde
    nu0 = p * phi * dm + dr - 2 * phi * dm * r / (1 + phi * m)
    return mp.acos(abs(m0) / mp.sqrt(nu0)) / mp.pi, m0 / (1 + phi * m), nu0 / (1 + phi * m) ** 2
