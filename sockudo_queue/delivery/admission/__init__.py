"""Decides whether an endpoint may be called now."""
