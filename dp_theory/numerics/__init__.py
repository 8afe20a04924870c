"""Checks of input, quadrature, one-dimensional minima, and jobs over processes: what every room computes with."""
