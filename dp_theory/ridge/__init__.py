"""Ridge regression on selected rows, the paper's problem: its limits, its finite dimensions, and its experiments.

problem says what may be asked, and states the conventions of the whole package. theorem1 has the limits, finite the
first order in 1/d, best the ridge of the least error, and simulators the experiments.
"""
