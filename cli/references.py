"""Which photographs help which."""
