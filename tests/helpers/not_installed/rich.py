"""Hides Rich, which a tool of the development environment brings and an installed daemon does not have.

structlog imports it where it is found, which takes a tenth of a daemon's start.
"""

raise ImportError("Rich is no dependency of the daemon")
