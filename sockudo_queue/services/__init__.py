"""The background threads, one loop each."""
