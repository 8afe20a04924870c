"""The shared plotting package: lays predicted curves and empirical ones on each other. It computes nothing.

It takes tidy pandas tables, a row per point, with the columns
    series, kind (predicted | simulated | measured | reported), x, y, y_low, y_high, n_seeds
and whatever else a plot groups by. y_low and y_high are the ends of the error bar, nan where there is none.
No function here touches matplotlib's global state: figures are objects, and style is a context.
"""
