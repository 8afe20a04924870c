"""What a GPU does with this project, measured in minutes: `python -m benchmarks.gpu`.

It reads no data, no weights and no pool, and fetches nothing. All networks have random weights.
"""
