"""Experiments at finite d."""
