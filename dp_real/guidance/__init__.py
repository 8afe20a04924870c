"""Entropy guidance: the rule of samplers, and any pipeline of diffusers guided by it."""
