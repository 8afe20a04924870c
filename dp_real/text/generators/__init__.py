"""Generators of texts: their configuration sections, which entry points register."""
