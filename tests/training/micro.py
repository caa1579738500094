"""The smallest IConFace run that has every part."""

from anchorface.models.configuration import AutoencoderSettings, BackboneSettings, ModelSettings
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.recipes import Recipe


def micro() -> Recipe:
    """32 px pictures of four tokens, width 32, fresh frozen networks; the identity network is the carried one."""
    model = ModelSettings(
        image_size=32,
        autoencoder=AutoencoderSettings(block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4,
                                        mid_block_attention=False, pixel_fold=2),
        backbone=BackboneSettings(num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                                  joint_attention_dim=16, axes_dims_rope=(4, 4, 4, 4), text_tokens=2,
                                  timestep_guidance_channels=32),
        system=IConFaceSettings(identity_dimension=256, base_tokens=4, detail_tokens=4, pooler_heads=2, lora_rank=4,
                                  cross_rank=4, cross_query_rank=4, cross_heads=2),
    )
    return Recipe(
        name="micro", model=model, autoencoder="", backbone="", positions=32, learning_rate=1e-2, warmup=8,
        feed=FeedSettings(dataset="", batch=4, profile="refldm-severe",
                          reference_count_probabilities=(0.25, 0.25, 0.25, 0.25)),
        losses=(Flow(), Identity(fraction=0.5)), precision="fp32", ema_half_life=16, checkpoint_every=16, log_every=8,
        grid_every=0, grid_images=2, grid_steps=2,
    )
