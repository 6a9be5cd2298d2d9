"""Reads settings: from a file and the environment to one checked value. `sockudo_queue.settings` is its face."""
