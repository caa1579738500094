"""Who is who, and which photo helps which: the face table, clustering, choice of references, the identity anchor."""

from identity_index.anchor import anchor
from identity_index.calibration import Calibration, calibrate, calibrate_threshold
from identity_index.cluster import cluster, pairwise_scores
from identity_index.mismatch import Chosen, MismatchPolicy, near_duplicate, references
from identity_index.table import INDEX_SCHEMA, IdentityIndex

__all__ = [
    "INDEX_SCHEMA", "Calibration", "Chosen", "IdentityIndex", "MismatchPolicy", "anchor", "calibrate",
    "calibrate_threshold", "cluster", "near_duplicate", "pairwise_scores", "references",
]
