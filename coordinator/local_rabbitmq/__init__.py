"""A RabbitMQ node or cluster of our own on this machine, for tests, the demo and trying things out."""
