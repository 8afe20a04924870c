"""Text: prompts, how texts are held in tensors and drawn token by token, and which are nearly alike."""
