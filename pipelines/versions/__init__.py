"""What `shards` and an erasure make dataset versions of: the plan of who stands where (plan), the tars (tar), and the
moment when a version becomes public (publish).
"""
