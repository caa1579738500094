"""How far the two ways of cutting a face for its embedder lie apart: `python benchmarks/identity_crop.py`.

Training and restoration cut the degraded face bilinearly, with gradients (models.encode.crop); curation cuts
photographs with faces.align.warp, bicubic where it does not shrink much. Degraded synthetic faces at 128 px go through
both; printed are the cosine of the two embeddings, their cosines to the clean photograph's, and the crops' mean
distance in 8-bit levels.
"""

import argparse

import numpy as np
import torch

from anchorface.degradation import apply, draw
from anchorface.faces.align import apply_matrix, arcface_matrix, ffhq_matrix, warp
from anchorface.faces.embed import TorchEmbedder
from anchorface.models.encode import crop
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.records import rng
from anchorface.synthetic import album, render, seed_of

SIZE, SMALL = 128, 112


def measured(embedder: TorchEmbedder, person: int, profile: str) -> tuple[float, float, float, float]:
    """Cosine between the two, of each to the clean face's, and the crops' distance in levels."""
    one = next(iter(album(seed_of(11, person), 1)))
    shot = render(one.head, one.state, 320)
    matrix = ffhq_matrix(shot.landmarks, SIZE)
    clean = warp(shot.image, matrix, SIZE)
    degraded = apply(clean, draw(profile, rng(0, "identity crop", person), size=SIZE))
    small = arcface_matrix(apply_matrix(matrix, shot.landmarks))
    with torch.no_grad():
        bilinear = tensor_to_levels(crop(levels_to_tensor(degraded[None]), small[None]).flip(1))[0]
    bicubic = warp(degraded, small, SMALL)
    truth, a, b = embedder.embed(np.stack([warp(shot.image, arcface_matrix(shot.landmarks), SMALL), bicubic,
                                           bilinear]))[0]
    return float(a @ b), float(a @ truth), float(b @ truth), float(np.abs(bilinear.astype(int) - bicubic).mean())


def main() -> None:
    """Print means, and the least cosine between the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    embedder = TorchEmbedder("adaface_small")
    for profile in ("refldm-severe", "refldm-moderate"):
        rows = np.array([measured(embedder, person, profile) for person in range(arguments.people)])
        between, bicubic, bilinear, levels = rows.mean(axis=0)
        print(f"{profile:16s} cosine of the two {between:.4f} (least {rows[:, 0].min():.4f}); to the clean face "
              f"bicubic {bicubic:.3f}, bilinear {bilinear:.3f}; crops {levels:.2f} levels apart")


if __name__ == "__main__":
    main()
