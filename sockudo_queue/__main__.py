"""`python -m sockudo_queue` is the command `sockudo-queue`."""

from sockudo_queue.cli import main

main()
