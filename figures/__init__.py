"""The shared plotting package: draws predicted and empirical curves over each other. It computes no results.

Figures take tidy pandas tables (figures.tables). No function here changes matplotlib's global state: figures are
objects, and the style is a context.
"""
