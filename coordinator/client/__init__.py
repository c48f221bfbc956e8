"""What other programs import: producers and managers."""
