"""The global identity pathway: one face embedding shifts how every image token is modulated.

identity: float [B, D_id], unit length (the norm-weighted anchor of the references, or the degraded image's own
embedding without references). Deltas: [B, 6 D] for the double blocks (shift, scale, gate for attention, then for
the MLP) and [B, 3 D] for the single blocks; they are added to FLUX.2's shared modulations at image positions.
"""

import math

from torch import Tensor, nn

from anchorface.models.iconface.settings import IConFaceSettings


class IdentityAnchor(nn.Module):
    """phi_global and the two heads psi; the heads' last layers start at zero, so a fresh anchor changes nothing.

    Depth, width and activation are our choice: phi is Linear, SiLU, Linear; psi is SiLU, Linear, as FLUX.2's own
    modulations are. The heads are shared by all blocks because the modulations are.

    Source: IConFace eq. 3-5.
    """

    def __init__(self, settings: IConFaceSettings, width: int) -> None:
        super().__init__()
        hidden = settings.identity_hidden or width
        # A unit vector's entries are about 1 / sqrt(D_id); scaled to order one, fresh layers see what they expect.
        self.scale, self.gain = math.sqrt(settings.identity_dimension), settings.identity_gain
        self.phi_global = nn.Sequential(
            nn.Linear(settings.identity_dimension, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.psi_double = nn.Linear(hidden, 6 * width)
        self.psi_single = nn.Linear(hidden, 3 * width)
        for head in (self.psi_double, self.psi_single):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Identity [B, D_id] to the deltas ([B, 6 D], [B, 3 D])."""
        hidden = self.phi_global(identity.to(self.psi_double.weight.dtype) * self.scale)
        return self.gain * self.psi_double(hidden), self.gain * self.psi_single(hidden)


def modulate(base: Tensor, delta: Tensor, start: int, stop: int, tokens: int) -> Tensor:
    """A modulation per token: the base everywhere, plus the delta at positions start..stop.

    Args:
        base: FLUX.2's modulation [B, K].
        delta: identity delta [B, K].
        start, stop: the range of tokens that the identity may touch.
        tokens: length of the stream.

    Returns:
        [B, tokens, K] (`Flux2Modulation.split` takes one modulation per token).
    """
    within = base.new_zeros(tokens, 1)
    within[start:stop] = 1
    return base[:, None] + within * delta.to(base.dtype)[:, None]
