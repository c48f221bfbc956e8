"""Unit tests of node/work_queues."""
