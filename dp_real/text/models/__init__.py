"""Generators, networks and learners that the kinds of dp_real.text load. They import torch."""
