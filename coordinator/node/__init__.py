"""The running coordinator."""
