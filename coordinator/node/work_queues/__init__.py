"""Work queues: publishing to them, their depth, what is in flight."""
