"""What a trained learner is measured by, and how it is described."""
