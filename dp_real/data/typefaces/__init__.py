"""Characters of typefaces: fonts are found, drawn, weeded out, grouped, and kept as one collection."""
