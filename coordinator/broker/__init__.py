"""RabbitMQ: its client, its management API, a private node of it."""
