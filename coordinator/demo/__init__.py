"""The demo: a real crawl of a file tree, with failures on purpose, and a ledger at its end."""
