"""Each folder holds one study: its data source, presets and stored runs. The core knows none of them."""
