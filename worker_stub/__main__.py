"""`python -m worker_stub`."""

from worker_stub.cli import main

main()
