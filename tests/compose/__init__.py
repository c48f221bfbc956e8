"""Tests of compose.yaml, on a Docker engine."""
