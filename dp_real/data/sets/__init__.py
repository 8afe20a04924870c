"""Sets of real examples that a user names: how they are found, read and given labels."""
