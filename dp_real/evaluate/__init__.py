"""The metrics of a trained learner, and its model card."""
