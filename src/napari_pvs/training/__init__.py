"""Training: config, sampling, losses, trainer, events."""
