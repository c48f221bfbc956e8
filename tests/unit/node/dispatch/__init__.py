"""Unit tests of node/dispatch."""
