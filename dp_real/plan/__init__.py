"""What a run needs and costs, computed before it begins."""
