"""The other coordinators on the same broker: who is there, and what they say to each other."""
