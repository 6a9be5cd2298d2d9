"""Apps and their webhooks, from a file or a database."""
