"""Seeds: their queues, their dead letters, and what is left of purged ones."""
