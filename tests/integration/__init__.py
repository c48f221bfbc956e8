"""Tests against a real RabbitMQ."""
