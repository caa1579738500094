"""Published protocols by name: each reads its layout from a folder and says exactly what is missing."""

from anchorface.evaluation.protocols.freeze_folder import freeze_folder
from anchorface.evaluation.protocols.layouts import PUBLISHED, Listed, Listing, Published, published

__all__ = ["PUBLISHED", "Listed", "Listing", "Published", "freeze_folder", "published"]
