"""The reference worker: it takes batches, hands their items to a handler, and acks them."""
