"""Sources, generators and learners of texts, which the engine meets as entry points only."""
