"""All of one study in each folder: its data source, presets, figures and stored runs. The core knows none of them."""
