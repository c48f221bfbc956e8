"""Tests of the running coordinator without a broker."""
