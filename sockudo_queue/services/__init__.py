"""The threads beside the workers, one loop each."""
