"""The quantities that measure a budget of samples. A scaling plot can put any of them on its x axis."""

AXES = {
    "generated": "samples generated",
    "kept": "samples in the pool",
    "compute": "FLOPs of generation and training",
    "seconds": "seconds of generation and training",
}
