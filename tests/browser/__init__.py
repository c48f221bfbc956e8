"""The dashboard in a real browser, with a real broker behind."""
