"""Spans of our own, by OpenTelemetry: the only package that knows it, and only where its variables ask for spans."""
