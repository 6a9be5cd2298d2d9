"""What the daemon shows of itself to people: a ring of samples, and the page and the JSON that are made of it."""
