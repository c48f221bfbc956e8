"""Workers made of nothing but a stock AMQP client in another language."""
