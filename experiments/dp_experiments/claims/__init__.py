"""The paper's claims: as printed, recomputed from its own tables, in theory, and as measured here."""
