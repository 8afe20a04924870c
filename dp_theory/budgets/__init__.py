"""Ways to spend a budget of samples, held against each other. Each question has a module.

`least_error`   how hard should a named rule of a fixed selector select, and at which ridge?
`optimum`       which strategy with which rule is best for a number of rows, or for a budget?
`sweeps`        what do all strategies give, over sizes, in theory and in experiments?
`exponents`     does practice change the exponent of the scaling law?
"""
