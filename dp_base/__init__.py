"""What the packages of this project share: errors, file writing, registries and progress. It imports none of them."""

__version__ = "0.1.0"
