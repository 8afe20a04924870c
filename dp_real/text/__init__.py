"""Sources, generators and learners of texts; the engine meets them as entry points only, as another package's."""
