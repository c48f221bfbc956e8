"""Figures of a running coordinator: programs of their own, for a quiet machine."""
