"""The shared plotting package, which draws and computes no results.

Figures take tidy pandas tables, see `tables`. Nothing changes matplotlib's global state.
"""
