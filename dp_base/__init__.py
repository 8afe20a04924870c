"""What the packages of this project share: errors, whole files, registries, progress. It knows none of them."""

__version__ = "0.1.0"
