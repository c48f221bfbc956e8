"""The dashboard: a page without data of its own, and the stream that keeps it up to date."""
