"""The subject: a conditional VAE over video, which knows nothing of files, data or training."""
