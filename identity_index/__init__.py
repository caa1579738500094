"""Who is who, and which photo helps which: the face table, clustering, choice of references, the identity anchor."""

from identity_index.anchor import anchor
from identity_index.calibration import Calibration, calibrate, calibrate_threshold
from identity_index.cluster import b_cubed_scores, cluster, pairwise_scores
from identity_index.constraints import Constraints, constraints, known
from identity_index.decisions import add_decision, read_decisions
from identity_index.mismatch import Chosen, MismatchPolicy, near_duplicate, references
from identity_index.table import INDEX_SCHEMA, IdentityIndex

__all__ = [
    "INDEX_SCHEMA", "Calibration", "Chosen", "Constraints", "IdentityIndex", "MismatchPolicy", "add_decision", "anchor",
    "b_cubed_scores", "calibrate", "calibrate_threshold", "cluster", "constraints", "known", "near_duplicate",
    "pairwise_scores", "read_decisions", "references",
]
