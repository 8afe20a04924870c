"""What the other packages share: errors, file writing, locks, registries and progress. It imports none of these."""

__version__ = "0.2.0"
