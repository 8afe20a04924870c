"""What the kinds of dp_real.text load. These modules import torch."""
