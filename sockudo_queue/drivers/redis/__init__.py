"""The drivers for Redis, Redis Cluster and Sentinel."""
