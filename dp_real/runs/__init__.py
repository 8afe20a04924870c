"""A run in a folder: how it is made, resumed, branched and opened."""
