"""What all parts of a run use: processes, randomness, memory, weights, the cache, and images as numbers."""
