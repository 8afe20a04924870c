"""What the kinds of dp_real.text load; it imports torch."""
