"""Draws the examples of one round: plain, guided by a learner, or over-generated and pruned by a learner."""
