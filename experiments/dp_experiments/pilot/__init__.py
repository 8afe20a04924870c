"""A pilot: are the generator's labels right where the learner is unsure? A few hundred samples say so."""
