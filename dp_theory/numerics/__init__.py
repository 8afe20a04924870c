"""What all rooms of the theory compute with: checks of input, quadrature, parallel work, and the costs of samples."""
