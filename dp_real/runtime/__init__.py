"""What all parts of a run stand on: processes, randomness, memory, weights, the cache, and images as numbers."""
