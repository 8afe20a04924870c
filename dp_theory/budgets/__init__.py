"""Ways to spend a budget of samples, held against each other."""
