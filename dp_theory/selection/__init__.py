"""The best rule for a budget."""
