"""Figures from stored runs of several studies."""
