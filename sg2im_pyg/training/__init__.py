"""Training: losses, the two-player step, configuration, checkpoints, logging and the run."""
