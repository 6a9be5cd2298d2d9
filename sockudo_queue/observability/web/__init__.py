"""The HTTP interface: probes, metrics and pages, and the server that other parts use for their own ports."""
