"""What operators do to a queue, by a command or on the page."""
