"""Everything that operators see: metrics, health, logs, tracing, the status page."""
