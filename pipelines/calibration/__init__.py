"""What is measured of a network before it is believed: how the norm of its embeddings follows quality
(norm_calibration), over faces damaged in graded steps (damage_ladders).
"""
