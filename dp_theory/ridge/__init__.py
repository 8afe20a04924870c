"""Ridge regression on selected rows, the paper's problem: limits, first order in 1/d, best ridge, experiments."""
