"""What is kept while one picture is sampled: what is exact stays exact, what is close is close."""

from dataclasses import replace

import pytest
import torch
from small import PATHWAYS, TOKENS, ask, inputs, stirred

from anchorface.models.cache import Cache
from anchorface.models.flow import shift_schedule
from anchorface.models.sampler import initial_noise, sample


def sampled(model, given, cache, steps=6):
    noise = initial_noise(range(3), (TOKENS, 16))
    return sample(lambda z, sigma: ask(model, {**given, "scene": z, "sigma": sigma}, cache), noise,
                  shift_schedule(steps, TOKENS))


@pytest.mark.parametrize("changes", [
    {}, {"residual_space": "hidden", "memory": "single"}, {"memory": "none", "residual": False},
])
@pytest.mark.parametrize("references", [0, 2])
def test_keeping_what_does_not_know_the_noise_level_changes_no_bit(references, changes):
    model, given = stirred(replace(PATHWAYS, **changes)), inputs(references)
    assert torch.equal(sampled(model, given, Cache()), sampled(model, given, None))


@pytest.mark.parametrize("scope", ["image", "scene"])
@torch.no_grad()
def test_kept_keys_and_values_give_the_same_velocity_where_nothing_has_changed(scope):
    model, given = stirred(replace(PATHWAYS, identity_scope=scope, cross_scope=scope)), inputs(2)
    cache = Cache(reuse=2)
    whole = ask(model, given, cache)
    assert torch.equal(whole, ask(model, given))
    seen = []
    hook = model.backbone.transformer_blocks[0].register_forward_pre_hook(lambda _, a: seen.append(a[0].shape[1]))
    kept = ask(model, given, cache)
    hook.remove()
    assert seen == [TOKENS], "the stream still held the context"
    assert torch.allclose(kept, whole, atol=1e-5)


def test_reuse_moves_the_result_a_little_and_is_refreshed_after_so_many_steps():
    model, given, seen = stirred(), inputs(2), []
    naive = sampled(model, given, None)
    hook = model.backbone.transformer_blocks[0].register_forward_pre_hook(lambda _, a: seen.append(a[0].shape[1]))
    reused = sampled(model, given, Cache(reuse=2))
    hook.remove()
    assert seen == [4 * TOKENS, TOKENS] * 3
    assert 0 < (reused - naive).abs().mean() < 0.2 * naive.abs().mean()
