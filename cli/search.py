"""Who is in a photograph."""
