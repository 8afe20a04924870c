"""Characters of typefaces. Fonts are found, drawn, weeded out, grouped, and kept as one collection."""
