"""Runs several daemons for a long time while everything around them fails at random, and judges what came of it."""
