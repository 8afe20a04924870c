"""Text as examples: how it is held in tensors, and which texts are nearly alike."""
