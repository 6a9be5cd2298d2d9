"""Reads settings: from a file, the environment and flags to one checked value. `sockudo_queue.settings` is its face."""
