"""Sources, generators and learners of texts, which other rooms use only as entry points."""
