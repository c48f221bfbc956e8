"""A RabbitMQ of our own: its configuration, folder, ports and programs."""
