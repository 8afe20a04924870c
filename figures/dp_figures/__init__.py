"""The shared plotting package. It draws predicted and empirical numbers over each other, and computes no results.

Figures take tidy pandas tables, see `tables`. No function here changes matplotlib's global state: a figure is an
object, and the style is a context.
"""
