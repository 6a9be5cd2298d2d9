"""The commands beside the daemon, one module each; `cli.py` imports them when they run."""
