"""Training: start and resume, the loop, checkpoints, validation, and how a training fails."""
