"""Reads one app's webhooks."""
