"""Sources of texts: their configuration sections and loaders, which entry points register."""
