"""A run in a folder: how it is made, how it goes on, and how it is read."""
