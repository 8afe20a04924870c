"""Whether the Gaussian theory of selection is valid for features that somebody has, and how wrong it would be."""
