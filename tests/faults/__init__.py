"""Tests that kill, suspend or cut off brokers and programs: each has its own, and they run one at a time."""
