"""The same pictures as diffusers' own FLUX.2-klein pipeline, on a small network with random weights."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline
from PIL import Image

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import build_backbone
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import AutoencoderSettings, BackboneSettings
from anchorface.models.flow import shift_schedule
from anchorface.models.iconface.network import IConFace
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.sampler import guided, sample
from anchorface.records import rng

BACKBONE = BackboneSettings(num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=4,
                            joint_attention_dim=96, axes_dims_rope=(4, 4, 4, 4), text_tokens=5, in_channels=32,
                            timestep_guidance_channels=32)
CODE = AutoencoderSettings(block_out_channels=(16, 32, 32, 32), layers_per_block=1, latent_channels=8,
                           norm_num_groups=8)
CONCAT_ONLY = IConFaceSettings(identity_anchor=False, residual=False, memory="none", identity_dimension=8,
                               degraded_time=10, reference_time=20, reference_step=10)
SIDE, STEPS = 96, 5


@pytest.mark.parametrize(("references", "guidance"), [(0, 1.0), (2, 1.0), (3, 4.0)])
def test_concat_only_with_stock_ids_samples_what_the_klein_pipeline_samples(references: int, guidance: float) -> None:
    draws = rng(3, "klein parity")
    backbone, autoencoder = build_backbone(BACKBONE, seed=1).eval(), Autoencoder(CODE, seed=2).eval()
    autoencoder.set_whitening(torch.from_numpy(draws.normal(0, 0.1, 32)).float(),
                              torch.from_numpy(draws.uniform(0.5, 2, 32)).float())
    pictures = [draws.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(1 + references)]
    prompt, empty = torch.from_numpy(draws.normal(size=(2, 1, 5, 96))).float()
    side = SIDE // CODE.token_stride
    noise = torch.from_numpy(draws.normal(size=(1, 32, side, side))).float()

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    pipeline = Flux2KleinPipeline(scheduler=scheduler, vae=autoencoder.vae, text_encoder=None, tokenizer=None,
                                  transformer=backbone, is_distilled=False)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(image=[Image.fromarray(picture) for picture in pictures], prompt_embeds=prompt,
                     negative_prompt_embeds=empty, height=SIDE, width=SIDE, num_inference_steps=STEPS,
                     guidance_scale=guidance, latents=noise, output_type="pt").images

    model = IConFace(backbone, CONCAT_ONLY).eval()
    with torch.no_grad():
        tokens = [autoencoder.encode(levels_to_tensor(picture[None])) for picture in pictures]

        def velocity(text: torch.Tensor):
            given = Conditions(text=text, degraded=tokens[0], references=tuple(tokens[1:]))
            return lambda z, sigma: model(z, sigma, given)

        speed = guided(velocity(prompt), [(guidance - 1.0, velocity(empty))])
        clean = sample(speed, noise.flatten(2).transpose(1, 2), shift_schedule(STEPS, side * side))
        ours = (autoencoder.decode(clean, side, side) / 2 + 0.5).clamp(0, 1)
    assert stock.std() > 0.01
    assert torch.allclose(ours, stock, atol=1e-5)
