"""The shared plotting package: lays predicted curves and empirical ones on each other. It computes nothing.

Figures take tidy pandas tables (figures.tables). No function here touches matplotlib's global state: figures are
objects, and style is a context.
"""
