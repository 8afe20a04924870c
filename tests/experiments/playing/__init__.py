"""Tests of dp_experiments.playing."""
