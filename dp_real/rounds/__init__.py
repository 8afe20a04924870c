"""Draws the examples of one round: plain, guided by the learner, chosen among candidates, or pruned."""
