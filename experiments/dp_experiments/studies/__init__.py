"""All of one study in each folder: its data source, presets and stored runs. The core knows none of them."""
