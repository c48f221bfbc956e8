"""Workers: registration, heartbeats, callbacks and what they hold."""
