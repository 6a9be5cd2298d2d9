"""The status of the daemon for people: a ring of samples, and the pages and the JSON that are built from it."""
