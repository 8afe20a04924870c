"""Theory held against simulation: Theorem 1 cell by cell, every feature beyond it, and the noise of all together."""
