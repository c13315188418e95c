"""One file a provider. Each turns finished messages into outcomes, and does nothing else."""
