"""Settings and the token sequence."""

import json

import pytest

from anchorface.models.configuration import BackboneSettings, ModelSettings, klein_4b, tiny
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.tokens import Layout, square
from anchorface.records import ConfigurationError


@pytest.mark.parametrize("settings", [tiny(), klein_4b()])
def test_settings_survive_json(settings):
    assert ModelSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_both_presets_have_128_channels_at_stride_16():
    for settings, tokens in ((tiny(), 64), (klein_4b(), 1024)):
        assert settings.autoencoder.token_stride == 16
        assert settings.autoencoder.token_channels == 128
        assert settings.tokens_per_side**2 == tokens


def test_an_unknown_key_is_refused_and_the_near_one_named():
    with pytest.raises(ConfigurationError, match=r"lora_ranc.*lora_rank"):
        IConFaceSettings.from_dict({"lora_ranc": 8})
    with pytest.raises(ConfigurationError, match="identity_scop"):
        ModelSettings.from_dict({**tiny().to_dict(), "system": {"kind": "iconface", "identity_scop": "scene"}})


def test_values_that_do_not_fit_together_are_refused():
    with pytest.raises(ConfigurationError, match="axes_dims_rope"):
        BackboneSettings.from_dict({**tiny().backbone.to_dict(), "attention_head_dim": 64})
    with pytest.raises(ConfigurationError, match="memory is 'three'"):
        IConFaceSettings(memory="three")
    with pytest.raises(ConfigurationError, match="multiple of 16"):
        ModelSettings.from_dict({**tiny().to_dict(), "image_size": 100})
    with pytest.raises(ConfigurationError, match="missing"):
        BackboneSettings.from_dict({"num_layers": 2})


def test_position_ids_are_the_papers_table():
    layout = Layout(text=3, scene=(2, 2), degraded=(1, 2), references=((1, 1), (1, 1), (1, 1)))
    assert layout.text_ids().tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]
    assert layout.image_ids().tolist() == [
        [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0],
        [2, 0, 0, 0], [2, 0, 1, 0],
        [10, 0, 0, 0], [11, 0, 0, 0], [12, 0, 0, 0],
    ]
    assert layout.lengths == (4, 2, 1, 1, 1) and layout.image_tokens == 9 and layout.scene_tokens == 4


def test_without_references_the_segment_is_not_there():
    layout = Layout(text=3, scene=(2, 2), degraded=(2, 2))
    assert layout.lengths == (4, 4)
    assert layout.image_ids()[:, 0].unique().tolist() == [0, 2]


def test_a_sequence_that_is_no_square_needs_its_grid():
    with pytest.raises(ConfigurationError, match="12 tokens"):
        square(12)
