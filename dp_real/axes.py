"""What a budget of samples may be counted in; every scaling plot can put each of them on its x axis."""

AXES = {
    "generated": "samples generated",
    "kept": "samples in the pool",
    "compute": "FLOPs of generation and training",
}
