"""Our own spans: the only package that uses OpenTelemetry, and only if its environment variables enable spans."""
