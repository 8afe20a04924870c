"""Tests of dp_experiments.show.play."""
