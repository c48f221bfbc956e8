"""The HTTP side: it translates requests into calls of the coordinator."""
