"""Face encoders: CLIP's layout, FaRL's published names, and files that are something else."""

from pathlib import Path

import pytest
import torch

from anchorface.faces import weights
from anchorface.faces.face_encoder import DEVIATION, MEAN, SHAPES, FaceEncoder, Shape, face_encoder, from_farl
from anchorface.records.errors import WeightsError

LITTLE = Shape(image=32, patch=16, width=8, layers=2, heads=2)


def published(shape: Shape, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dictionary under FaRL's names, the text half and what only its training used among them."""
    generator, width = torch.Generator().manual_seed(seed), shape.width
    sizes = {"class_embedding": (width,), "positional_embedding": (shape.tokens, width), "proj": (width, 4),
             "conv1.weight": (width, 3, shape.patch, shape.patch), "mask_token": (width,), "lm_head.bias": (7,)}
    sizes |= {f"{norm}.{kind}": (width,) for norm in ("ln_pre", "ln_post") for kind in ("weight", "bias")}
    for number in range(shape.layers):
        block = f"transformer.resblocks.{number}"
        sizes |= {f"{block}.{norm}.{kind}": (width,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
        sizes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,),
                  f"{block}.attn.out_proj.weight": (width, width), f"{block}.attn.out_proj.bias": (width,),
                  f"{block}.mlp.c_fc.weight": (4 * width, width), f"{block}.mlp.c_fc.bias": (4 * width,),
                  f"{block}.mlp.c_proj.weight": (width, 4 * width), f"{block}.mlp.c_proj.bias": (width,)}
    made = {f"visual.{name}": 0.3 * torch.randn(size, generator=generator) for name, size in sizes.items()}
    return made | {"logit_scale": torch.ones(()), "transformer.resblocks.0.ln_1.weight": torch.ones(3)}


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """FaRL's file, of a network that a test can hold; the names in it are the published ones."""
    monkeypatch.setitem(SHAPES, "farl", LITTLE)
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(tmp_path))
    return tmp_path / weights.weight("farl_b16_ep16").file


def forward_by_hand(state: dict[str, torch.Tensor], images: torch.Tensor, shape: Shape) -> torch.Tensor:
    """FaRL's forward pass up to its last norm, in its own names."""
    state = {name.removeprefix("visual."): tensor for name, tensor in state.items() if name.startswith("visual.")}
    functional = torch.nn.functional
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    x = functional.conv2d(((images + 1) / 2 - mean) / deviation, state["conv1.weight"], stride=shape.patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["class_embedding"].expand(len(x), 1, -1), x], dim=1) + state["positional_embedding"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    x = norm(x, "ln_pre")
    for number in range(shape.layers):
        block = f"transformer.resblocks.{number}"
        x = x + functional.multi_head_attention_forward(
            *[norm(x, f"{block}.ln_1").transpose(0, 1)] * 3, shape.width, shape.heads,
            state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"], None, None, False, 0.0,
            state[f"{block}.attn.out_proj.weight"], state[f"{block}.attn.out_proj.bias"], need_weights=False,
        )[0].transpose(0, 1)
        inner = functional.linear(norm(x, f"{block}.ln_2"), state[f"{block}.mlp.c_fc.weight"],
                                  state[f"{block}.mlp.c_fc.bias"])
        x = x + functional.linear(inner * torch.sigmoid(1.702 * inner), state[f"{block}.mlp.c_proj.weight"],
                                  state[f"{block}.mlp.c_proj.bias"])
    return x


def test_a_published_file_gives_the_tokens_of_its_own_forward_pass(little: Path) -> None:
    state = published(LITTLE)
    torch.save({"state_dict": state}, little)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = face_encoder("farl_b16_ep16")(images)
    assert found.shape == (2, LITTLE.tokens, LITTLE.width)
    assert torch.allclose(found, forward_by_hand(state, images, LITTLE), atol=1e-5)


def test_farls_shape_is_the_published_one() -> None:
    shape = SHAPES["farl"]
    assert (shape.tokens, shape.width) == (197, 768)
    with torch.device("meta"):
        network = FaceEncoder(shape)
        named = from_farl({name: tensor.to("meta") for name, tensor in published(shape).items()}, shape.layers)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in named.items()} == wanted


@pytest.mark.parametrize(("wrong", "why"), [
    ({"visual.conv1.weight": None}, r"1 missing: vision\.embeddings\.patch_embedding\.weight"),
    ({"visual.conv9.weight": (3,)}, r"1 unknown: visual\.conv9\.weight"),
    ({"visual.transformer.resblocks.0.attn.strange": (3,)}, r"1 unknown: visual\.transformer"),
    ({"visual.transformer.resblocks.7.ln_1.weight": (8,)}, r"1 unknown: visual\.transformer\.resblocks\.7"),
    ({"visual.positional_embedding": (9, 8)}, r"1 of another shape: vision\.embeddings\.position"),
    ({"visual.transformer.resblocks.1.attn.in_proj_weight": (24, 9)}, r"3 of another shape"),
])
def test_wrong_names_or_shapes_are_refused_and_named(little: Path, wrong: dict[str, tuple[int, ...] | None],
                                                     why: str) -> None:
    state = published(LITTLE)
    for name, size in wrong.items():
        state.pop(name, None)
        if size is not None:
            state[name] = torch.zeros(size)
    torch.save({"state_dict": state}, little)
    with pytest.raises(WeightsError, match=why):
        face_encoder("farl_b16_ep16")


def test_files_that_are_no_face_encoder_are_refused(little: Path) -> None:
    torch.save({"state_dict": {"logit_scale": torch.ones(())}}, little)
    with pytest.raises(WeightsError, match="missing"):
        face_encoder("farl_b16_ep16")
    little.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        face_encoder("farl_b16_ep16")
    little.unlink()
    with pytest.raises(WeightsError, match="FacePerceiver/FaRL"):
        face_encoder("farl_b16_ep16")
    with pytest.raises(WeightsError, match="no face encoder named 'adaface_small'"):
        face_encoder("adaface_small")


def test_a_picture_of_any_side_is_brought_to_the_networks() -> None:
    network = FaceEncoder(LITTLE).eval()
    grey = torch.full((1, 3, 100, 100), 0.2)
    assert torch.allclose(network.normed(grey), network.normed(grey[..., :32, :32]), atol=1e-5)
    assert network(grey).shape == (1, 5, 8)
