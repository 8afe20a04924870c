"""The page to play with: Theorem 1 under sliders, and practice on a toy in two dimensions."""
