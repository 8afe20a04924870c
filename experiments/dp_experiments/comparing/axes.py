"""What a comparison counts on its x axis."""

AXIS_LABELS = {
    "generated": "samples generated",
    "kept": "samples in the pool",
    "compute": "FLOPs of generation and training",
    "seconds": "seconds of generation and training",
}
"""The label of each axis: those of dp_theory.numerics.costs, and seconds."""

UNITS = {"generated": "samples", "kept": "samples", "compute": "FLOPs", "seconds": "seconds"}
"""What the amounts on each axis are called in a sentence."""
