"""Using a checkpoint: aligned faces, one photograph with references, a folder of photographs."""

from anchorface.restoration.folder import restore_folder
from anchorface.restoration.photo import RestoredFace, RestoredPhoto, make_reference, open_references, restore_photo
from anchorface.restoration.restorer import Reference, Restorer, find_device, mean_landmarks
from anchorface.restoration.sampler_settings import SamplerSettings

__all__ = [
    "Reference", "RestoredFace", "RestoredPhoto", "Restorer", "SamplerSettings", "find_device", "make_reference",
    "mean_landmarks", "open_references", "restore_folder", "restore_photo",
]
