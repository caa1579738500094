"""What training reads: an opened dataset version (dataset), what decides a sample (settings), in which order (order),
the sample itself (sample), samples by their position (feed), the same ahead of the reader (ray_feed), and the batches
of a run (batches).
"""
