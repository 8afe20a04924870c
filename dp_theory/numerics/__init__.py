"""What every room computes with: checks of input, quadrature, one-dimensional minima, parallel jobs, and costs."""
