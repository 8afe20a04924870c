"""The best selection: what a row is worth, and the best rule for a budget."""
