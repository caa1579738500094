"""Who is who, and which photo helps which: the face table, clustering, choice of references."""

from anchorface.identity_index.clustering.calibration import Calibration, Levels, calibrate, calibrate_threshold
from anchorface.identity_index.clustering.cluster import b_cubed_scores, cluster, pairwise_scores
from anchorface.identity_index.clustering.constraints import Constraints, constraints, known
from anchorface.identity_index.clustering.decisions import add_decision, read_decisions
from anchorface.identity_index.recognition import Likely, calibrate_recognition, recognise
from anchorface.identity_index.retrieval.mismatch import Chosen, MismatchPolicy, near_duplicate, references
from anchorface.identity_index.table import INDEX_SCHEMA, IdentityIndex

__all__ = [
    "INDEX_SCHEMA", "Calibration", "Chosen", "Constraints", "IdentityIndex", "Levels", "Likely", "MismatchPolicy",
    "add_decision", "b_cubed_scores", "calibrate", "calibrate_recognition", "calibrate_threshold", "cluster",
    "constraints", "known", "near_duplicate", "pairwise_scores", "read_decisions", "recognise", "references",
]
