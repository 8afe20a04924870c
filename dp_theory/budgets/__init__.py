"""Ways to spend a budget of samples, held against each other: `sweep` over sizes, `optimum` over selection rules."""
