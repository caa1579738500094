"""Multi-reference guidance: a network that was trained with one reference is shown any number of them, one at a time.

    v~ = (1 - s_i) v(z, 0, 0) + (s_i - s_c) v(z, LQ, 0) + s_c / N sum_i v(z, LQ, c_i)

LQ: the degraded picture; c_i: what is known of reference i; 0: dropped, as in training. The paper writes it for the
predicted noise; the weights add up to one, and at a given z and sigma noise and velocity are affine in each other, so
it is the same formula for both. At s_i = s_c the middle term vanishes, at s_i = 1 the first: neither is then computed.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anchorface.models.cache import Cache
from anchorface.models.conditions import Conditions, joined
from anchorface.models.flow import VelocityFunction
from anchorface.models.sampler import guided

Predict = Callable[[Tensor, Tensor, Conditions, Cache], Tensor]
"""z [B, L, C], sigma [B], conditions of B pictures and their cache, to the velocity [B, L, C]."""


def multi_reference(predict: Predict, given: Conditions, own: Tensor | None, *, input_scale: float,
                    context_scale: float | Tensor, most: int, reuse: int = 1) -> VelocityFunction:
    """The guided velocity of B pictures.

    Args:
        predict: the network.
        given: the conditions with all N references; without any, the last term is not there and s_c is s_i.
        own: the degraded faces' own embeddings [B, D], the identity where references are dropped.
        input_scale, context_scale: s_i, s_c; the latter may be each picture's own, [B, 1, 1].
        most: pictures in one call of the network: the calls of a step are one batch, cut into pieces of so many.
        reuse: as of `models.cache.Cache`.

    Source: RG-IPFR, training-free multi-reference guidance.
    """
    everybody = torch.ones(len(given.text), dtype=torch.bool, device=given.text.device)
    alone = [given.with_one(number) for number in range(len(given.faces))]
    unheard = alone[0].dropped(~everybody, everybody, own) if alone else given
    nothing = unheard.dropped(everybody, everybody, own)
    to_nothing = input_scale - 1.0
    to_unheard = context_scale - input_scale if alone else 0.0
    weaker = [(strength, less) for strength, less in ((to_nothing, nothing), (to_unheard, unheard))
              if torch.is_tensor(strength) or strength]
    shown = alone or [unheard]
    answers = in_one_batch(predict, [*shown, *(less for _, less in weaker)], most, reuse)

    def velocity(z: Tensor, sigma: Tensor) -> Tensor:
        found = answers(z, sigma)
        mean = torch.stack(found[: len(shown)]).mean(dim=0)
        branches = [(strength, constant(value))
                    for (strength, _), value in zip(weaker, found[len(shown):], strict=True)]
        return guided(constant(mean), branches)(z, sigma)

    return velocity


def in_one_batch(predict: Predict, parts: Sequence[Conditions], most: int,
                 reuse: int = 1) -> Callable[[Tensor, Tensor], list[Tensor]]:
    """The velocities under several conditions of the same B pictures, asked together in pieces of `most` pictures; of
    clips, whole ones, one at least.
    """
    together = joined(parts)
    most = max(most // together.frames, 1) * together.frames
    starts = range(0, len(together.text), most)
    pieces = [(slice(start, start + most), together.rows(slice(start, start + most)), Cache(reuse=reuse))
              for start in starts]

    def answers(z: Tensor, sigma: Tensor) -> list[Tensor]:
        z, sigma = z.repeat(len(parts), 1, 1), sigma.repeat(len(parts))
        found = [predict(z[rows], sigma[rows], given, cache) for rows, given, cache in pieces]
        return list(torch.cat(found).chunk(len(parts)))

    return answers


def constant(value: Tensor) -> VelocityFunction:
    """A velocity that was asked for already, as a function."""
    return lambda z, sigma: value
