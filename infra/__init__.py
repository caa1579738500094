"""Machines: what is here and what is missing, and work handed to them."""
