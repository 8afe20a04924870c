"""The paper's claims, one by one: as printed, recomputed from its own tables, in theory, and as measured here."""
