"""The dashboard: static files that hold no data, and the reads that they poll."""
