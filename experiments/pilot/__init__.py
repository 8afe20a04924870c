"""A pilot: a few hundred samples that say whether practice is likely to pay, before they are many."""
