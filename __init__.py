"""anchorface: from a heap of photographs to a trained, judged, reference-aware face restorer.

Its rooms are the folders at the top level of the repository, imported as `anchorface.records`, `anchorface.faces`, ...
"""
