"""IConFace: an identity anchor and a structure anchor beside a frozen FLUX.2 transformer."""
