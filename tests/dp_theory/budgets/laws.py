"""A limit that several tests hold the searches against."""

import numpy as np


def keep_hard_law(rho, psi, flip=0.0):
    """Test error of keep-hard as lam → 0+ and then p → 0: tan(πE) = √(1 - rho²)·tan(πE_plain), for psi < 1. Broadcasts.

    tan(πE_plain) = √(psi/(1 - psi))·√((π/2)/(1 - 2 flip)² - 1). The limits do not commute: at any lam > 0 the component
    along w_s, in which all rows are small, is lost as p → 0.
    """
    plain = np.sqrt(psi / (1 - psi) * (np.pi / 2 / (1 - 2 * flip) ** 2 - 1))
    return np.arctan(np.sqrt(1 - rho**2) * plain) / np.pi
