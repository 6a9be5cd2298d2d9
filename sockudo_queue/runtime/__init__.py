"""This process: signals, limits, standard streams, CPU affinity."""
