"""A run's attributes begin at what a text encoder says of them, where its recipe names a file."""

from pathlib import Path

import pytest
import torch

from anchorface.models.ip_fvr.attribute_context import write_attributes
from anchorface.models.ip_fvr.network import IPFVR
from anchorface.records import CheckpointError, ConfigurationError, WeightsError
from anchorface.records.attributes import ATTRIBUTES
from anchorface.training.networks import load_networks
from anchorface.training.recipes import recipe

CPU = torch.device("cpu")
NAMED = {"attributes": "flux2_klein_attributes", "model.system.prompt_width": 20, "autoencoder": "", "backbone": ""}


def test_a_fresh_system_s_attributes_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(tmp_path))
    made = recipe("ip_fvr_tiny", **NAMED)
    with pytest.raises(WeightsError, match="anchorface prompt --attributes"):
        load_networks(made, CPU)
    low, high = torch.randn(2, len(ATTRIBUTES), 20, generator=torch.Generator().manual_seed(1))
    file = tmp_path / "flux2_klein_attributes.safetensors"
    write_attributes(file, {"low": low, "high": high})
    network = load_networks(made, CPU).network
    assert isinstance(network, IPFVR) and network.attribute_context is not None
    assert torch.equal(network.attribute_context.name, low)
    assert torch.equal(network.attribute_context.direction, high - low)
    assert "attribute_context.name" in network.adapter_state(), "in use the file is not needed"
    write_attributes(file, {"low": low[:, :7], "high": high[:, :7]})
    with pytest.raises(CheckpointError, match="flux2_klein_attributes"):
        load_networks(made, CPU)


def test_clips_longer_than_the_system_takes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"feed\.frames is 25, model\.system\.most_frames 24"):
        recipe("ip_fvr_tiny", **{"feed.frames": 25})


def test_a_file_that_nobody_reads_and_a_width_without_a_file_are_refused() -> None:
    assert recipe("ip_fvr").attributes == NAMED["attributes"] and recipe("ip_fvr_tiny").attributes == ""
    for name, changes in (("ip_fvr_tiny", {"attributes": NAMED["attributes"]}), ("iconface_tiny", {
            "attributes": NAMED["attributes"]}), ("ip_fvr", {"model.system.attribute_context": False})):
        with pytest.raises(ConfigurationError, match="leave it empty"):
            recipe(name, **changes)
    with pytest.raises(ConfigurationError, match="embeddings of 20 numbers, name their file"):
        recipe("ip_fvr_tiny", **{"model.system.prompt_width": 20})
