"""The small networks that the repository carries, and how each was trained: `python -m training.carried <network>`."""
