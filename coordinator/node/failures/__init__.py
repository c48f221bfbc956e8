"""Batches that came back, and batches that fail again and again."""
