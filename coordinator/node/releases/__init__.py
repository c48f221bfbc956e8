"""Commands, and what a release of a seed or a worker does."""
