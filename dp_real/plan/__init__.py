"""What a run needs and takes, computed before it begins."""
