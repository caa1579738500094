"""From pictures to `Conditions`, by the same code in training, in a run's sample grids and in restoration.

S: the model's image size in pixels. Pictures are float [B, 3, S, S] RGB in [-1, 1]. The precision is the caller's:
called under autocast, the networks run under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from anchorface.models.anchor import Quality, anchor
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory
from anchorface.models.conditions import Conditions, FaceTokens

CROP = 112
"""Side of the crops that face embedders take, px."""


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The frozen networks that conditions are made with.

    embedder: crops [B, 3, 112, 112] BGR in [-1, 1] to unit embeddings [B, D] and norms (faces.adaface). temperature,
    quality: how the anchor weighs references (models.anchor). face_encoder: pictures to face tokens [B, N, E]
    (faces.face_encoder), for systems that read them. concatenates: whether references stand in the system's sequence;
    otherwise they are not encoded.
    """

    autoencoder: Autoencoder
    text: TextMemory
    embedder: nn.Module
    temperature: float = 1.0
    quality: Quality | None = None
    face_encoder: nn.Module | None = None
    concatenates: bool = True


@torch.no_grad()
def conditions(encoders: Encoders, degraded: Tensor, references: Sequence[Tensor], matrices: NDArray,
               raw_embeddings: Tensor | None, empty: Tensor | bool = False,
               reference_tokens: Sequence[Tensor] = (), frames: int = 1) -> Conditions:
    """The conditions of a batch of degraded faces.

    Args:
        degraded: [B, 3, S, S], B = b * frames.
        references: R times [b, 3, S, S], shared by the frames of a clip; none for the no-reference mode.
            reference_tokens: instead of these, where they are encoded already, R times [b, L, C].
        matrices: float64 [B, 2, 3], from the degraded pictures to the embedder's crop (faces.align.arcface_matrix).
            Only without references: then the identity is the degraded faces' own embedding.
        raw_embeddings: of the references, [b, R, D] before normalisation: their anchor is the identity.
        empty: which pictures get the empty prompt (models.backbone.TextMemory).
        frames: of each clip, 1 for pictures; rows are clip-major.

    Returns:
        Tokens and identities in float32.

    Source: IConFace eq. 2-5.
    """
    encoded = references if encoders.concatenates else ()
    tokens = encoders.autoencoder.encode(torch.cat([degraded, *encoded])).float().split(
        [len(picture) for picture in (degraded, *encoded)])
    shown = tuple(each_frame(reference, frames) for reference in (*tokens[1:], *reference_tokens))
    if references or reference_tokens:
        assert raw_embeddings is not None, "references come with their embeddings"
        identity = each_frame(anchor(raw_embeddings, encoders.temperature, encoders.quality).float(), frames)
        faces = tuple(FaceTokens(whole=each_frame(face.whole, frames), tokens=each_frame(face.tokens, frames))
                      for face in face_tokens(encoders, references, raw_embeddings))
    else:
        identity, faces = identity_embedding(encoders.embedder, degraded, matrices), ()
    return Conditions(text=encoders.text(len(degraded), empty), degraded=tokens[0], references=shown,
                      identity=identity, faces=faces, frames=frames)


def each_frame(of_clips: Tensor, frames: int) -> Tensor:
    """What clips have once, [b, ...], in the rows of all their frames, [b * frames, ...]."""
    return of_clips.repeat_interleave(frames, dim=0) if frames > 1 else of_clips


def face_tokens(encoders: Encoders, references: Sequence[Tensor], raw_embeddings: Tensor) -> tuple[FaceTokens, ...]:
    """What is known of each reference's face.

    Args:
        references: R times [B, 3, S, S]; only a face-image encoder asks for them. raw_embeddings: [B, R, D].
    """
    wholes = functional.normalize(raw_embeddings.float(), dim=-1).unbind(1)
    if encoders.face_encoder is None:
        return tuple(FaceTokens(whole=whole, tokens=whole.new_empty(len(whole), 0, 0)) for whole in wholes)
    assert len(references) == len(wholes), "a face-image encoder needs the references' pictures"
    seen = encoders.face_encoder(torch.cat(list(references))).float().split(len(references[0]))
    return tuple(FaceTokens(whole=whole, tokens=tokens) for whole, tokens in zip(wholes, seen, strict=True))


def identity_embedding(embedder: nn.Module, images: Tensor, matrices: NDArray) -> Tensor:
    """Unit embeddings [B, D], float32, of pictures [B, 3, S, S]; arguments as of `looked_at`."""
    return looked_at(embedder, images, matrices)[0]


def looked_at(embedder: nn.Module, images: Tensor, matrices: NDArray) -> tuple[Tensor, Tensor]:
    """Unit embeddings [B, D] and the raw ones' lengths [B, 1], float32; gradients flow to the pictures.

    Args:
        embedder: as of `Encoders`. images: [B, 3, S, S]. matrices: float64 [B, 2, 3], from the pictures to its crop.
    """
    crops = crop(images.float(), matrices).contiguous(memory_format=torch.channels_last)
    unit, length = embedder(crops)[:2]
    return unit.float(), length.float()


def crop(images: Tensor, matrices: NDArray) -> Tensor:
    """Pictures to the crops that face embedders take, with gradients to the pictures.

    Drawn bilinearly (`faces.align.warp` is bicubic when it does not shrink much); where it shrinks k times, k x k
    samples are averaged, so no pixel goes unread.

    Args:
        images: [B, 3, S, S] RGB.
        matrices: float64 [B, 2, 3], similarities from picture to crop.

    Returns:
        [B, 3, 112, 112] BGR, same range. Source: our choice: IConFace does not publish it.
    """
    size = images.shape[-1]
    scale = float(np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2]))).min())
    finer = min(8, max(1, int(np.ceil(1.0 / scale - 1e-6))))
    back = torch.from_numpy(np.stack([_inverse(matrix) for matrix in matrices])).to(images.device)
    # Pixel centres of a crop drawn `finer` times larger, in the coordinates of the 112 px crop.
    line = (torch.arange(CROP * finer, device=images.device, dtype=torch.float64) + 0.5) / finer - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    source = torch.einsum("hwk,bjk->bhwj", places, back)
    grid = (2.0 * source / (size - 1) - 1.0).to(images.dtype)
    drawn = functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    crops = functional.avg_pool2d(drawn, finer) if finer > 1 else drawn
    return crops.flip(1)


def _inverse(matrix: NDArray) -> NDArray:
    """The [2, 3] matrix that goes the other way."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])
