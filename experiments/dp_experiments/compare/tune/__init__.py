"""Equal tuning: each arm's own best settings, chosen on validation images with the same number of trials."""
