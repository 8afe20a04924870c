"""Budgets that several test files share."""

from dp_theory.selection import Budget

ONE_ROW = Budget.of(0.9, 1.0, "kept")
NOISY_ROWS = Budget.of(0.9, 3.0, "kept", smallest_keep=0.1, flip=0.1)
FEW_ROWS = Budget.of(0.5, 0.8, "kept", smallest_keep=0.05)
GENERATED = Budget.of(0.6, 10.0, "generated")
COMPUTE = Budget.of(0.95, 20.0, "compute")
FIXED_RIDGE = Budget.of(0.9, 4.0, "compute", lam=0.05, flip=0.05)
BUDGETS = {
    "one row": ONE_ROW,
    "noisy rows": NOISY_ROWS,
    "few rows": FEW_ROWS,
    "generated": GENERATED,
    "compute": COMPUTE,
    "fixed ridge": FIXED_RIDGE,
}
