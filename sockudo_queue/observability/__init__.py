"""What operators see: metrics, health, logs, the status page."""
