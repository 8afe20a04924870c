"""Tests of experiments.playing."""
