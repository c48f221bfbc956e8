"""Random input: calls over HTTP made from the API's own description, and messages over AMQP."""
