"""What `find_faces` asks of each face beside the networks: where it stands in its photograph and whose it is said to be
(face_places), and whether it is of any use (face_filters, sizes).
"""
