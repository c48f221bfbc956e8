"""Load, faults, a history written by the parties outside the coordinator, and a checker of it."""
