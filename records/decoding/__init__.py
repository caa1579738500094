"""Bytes from outside, decoded in a process that may die in place of the one that asks: `child` is where to begin."""
