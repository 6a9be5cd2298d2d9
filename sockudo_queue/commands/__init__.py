"""The sub-commands, and what several of them share."""
