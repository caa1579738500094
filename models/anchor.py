"""The identity anchor: several references' embeddings become one unit vector, the sharper ones counting more.

    e_r = z_r / ||z_r||,  q_r = ||z_r||,  w = softmax(log(q) / T),  anchor = Norm(sum_r w_r e_r)

At T = 1 the weights are the norms over their sum, so the anchor is the normalised plain sum of the raw embeddings z_r.
A larger T evens the weights out, a smaller one listens to the best reference alone. Source: IConFace eq. 3-5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.settings import Settings, choice
from anchorface.records import DataError
from anchorface.records.bounds import Bounds, check

Quality = Callable[[NDArray[np.floating]], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class AnchorSettings(Settings):
    """temperature: T above. norm_weights: what weighs a reference: `norm`, its embedding's length as in the
    paper, or `quality`, what that length lets expect of the picture by the embedder's stored calibration (our choice).
    """

    temperature: Annotated[float, Bounds(1e-6, 10**6)] = 1.0
    norm_weights: str = "norm"

    def __post_init__(self) -> None:
        choice("norm_weights", self.norm_weights, ("norm", "quality"))
        check(self, "anchor.")


def anchor(raw: Tensor, temperature: float = 1.0, quality: Quality | None = None) -> Tensor:
    """The norm-weighted mean direction of raw reference embeddings.

    Args:
        raw: [B, R, D] before normalisation (unit embedding times norm), R >= 1.
        temperature: T > 0; 1 weighs each reference by its norm.
        quality: norms to qualities, which stand in for the norms q_r: of the network that made the embeddings, so that
            one whose norm tells nothing weighs its references alike; None: the norms, as in the paper.

    Returns:
        Unit vectors [B, D] in the precision of `raw`, the same bits in whatever order the references come.

    Source: IConFace eq. 3-5; the qualities are our choice.
    """
    order = raw.norm(dim=-1).argsort(dim=1)  # one order of summation, whatever order they come in
    raw = raw.gather(1, order[..., None].expand_as(raw))
    norms = raw.norm(dim=-1).clamp_min(1e-6)
    heard = norms if quality is None else torch.from_numpy(quality(norms.cpu().numpy())).to(norms)
    weights = torch.softmax(heard.log() / temperature, dim=-1)
    return functional.normalize((weights / norms)[..., None].mul(raw).sum(dim=1), dim=-1)


def require_embeddings(raw: Tensor) -> None:
    """Refuse embeddings [B, R, D] that no anchor can be made of.

    Raises:
        DataError: they are zero or not finite, or a picture's references cancel out.
    """
    norms = raw.norm(dim=-1)
    if not norms.isfinite().all() or not (norms > 0).all():
        raise DataError("the references' embeddings are zero or not finite; embed them again")
    if ((raw / norms[..., None]).sum(dim=1).norm(dim=-1) < 1e-6).any():
        raise DataError("the references' embeddings cancel out; are they of one person?")
