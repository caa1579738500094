"""Dataset versions: what they hold, how they differ, and erasing people from them."""
