"""Ridge regression on selected rows: Theorem 1, its correction at finite dimension, and its simulators."""
