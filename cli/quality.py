"""Whether the embedding norm follows quality."""
