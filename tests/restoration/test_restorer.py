"""The restorer keeps its promises on a checkpoint with random weights: numbers mean nothing here, relations do."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from anchorface.faces.align import ffhq_matrix
from anchorface.faces.quality import NormCalibration
from anchorface.models.anchor import AnchorSettings
from anchorface.models.checkpoint import read_description, write_description
from anchorface.records import CheckpointError, ConfigurationError, DataError, rng
from anchorface.restoration import Reference, Restorer, SamplerSettings, mean_landmarks
from anchorface.restoration.clips import Crop, restored_crops
from anchorface.restoration.restorer import like
from tests.restoration.micro import micro_checkpoint

SIZE = 64
QUICK = SamplerSettings(steps=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Callable[[str], str]]:
    return micro_checkpoint(tmp_path_factory.mktemp("micro"))


@pytest.fixture(scope="module")
def restorer(written: tuple[str, Callable[[str], str]]) -> Restorer:
    return Restorer(written[0], weight_finder=written[1])


def faces(count: int, purpose: str) -> np.ndarray:
    smooth = rng(0, purpose).integers(0, 256, (count, 8, 8, 3))
    return smooth.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


def reference(number: int) -> Reference:
    return Reference(image=faces(9, "reference")[number], raw_embedding=rng(number, "embedding").normal(size=256) * 3)


def far(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_batch_composition_never_changes_an_image(restorer: Restorer) -> None:
    degraded, seeds = faces(5, "degraded"), [11, 22, 33, 44, 55]
    references = [[reference(0)], [], [reference(1), reference(2), reference(3)], [reference(4)], []]
    together = restorer.restore_aligned(degraded, references, seeds=seeds, settings=QUICK)
    backwards = restorer.restore_aligned(degraded[::-1].copy(), references[::-1], seeds=seeds[::-1],
                                         settings=QUICK)[::-1]
    for n in range(5):
        alone = restorer.restore_aligned(degraded[n:n + 1], [references[n]], seeds=[seeds[n]], settings=QUICK)[0]
        assert far(together[n], alone) <= 1  # matrix products of other shapes may round otherwise
        assert far(together[n], backwards[n]) <= 1
    assert far(together[0], together[3]) > 1


def test_seed_references_and_degraded_image_each_matter(restorer: Restorer) -> None:
    degraded = faces(2, "degraded")

    def once(image: np.ndarray, references: list[Reference], seed: int) -> np.ndarray:
        return restorer.restore_aligned(image[None], [references], seeds=[seed], settings=QUICK)[0]

    base = once(degraded[0], [reference(0)], 1)
    assert far(base, once(degraded[0], [reference(0)], 1)) == 0
    assert far(base, once(degraded[0], [reference(0)], 2)) > 1
    assert far(base, once(degraded[1], [reference(0)], 1)) > 1
    assert far(base, once(degraded[0], [reference(1)], 1)) > 1
    other_person = Reference(image=reference(0).image, raw_embedding=reference(1).raw_embedding)
    assert far(base, once(degraded[0], [other_person], 1)) > 1
    assert far(base, once(degraded[0], [], 1)) > 1


def test_references_are_weighed_as_the_run_weighed_them(
    written: tuple[str, Callable[[str], str]], restorer: Restorer, tmp_path: Path
) -> None:
    checkpoint, finder = written

    def restored(name: str, qualities: tuple[float, float], temperature: float = 1.0) -> np.ndarray:
        shutil.copytree(checkpoint, tmp_path / name)
        calibration = NormCalibration(weights="", sha256="", norms=(0.0, 1e3), qualities=qualities, held_out=0.0,
                                      sharpness=0.0, error=0.0, flat_error=0.0, faces=1, pictures=1, source="", seed=0,
                                      plans=())
        write_description(tmp_path / name, replace(
            read_description(checkpoint), extra={"norm_calibration": calibration.to_json()},
            anchor=AnchorSettings(temperature=temperature)))
        other = Restorer(str(tmp_path / name), weight_finder=finder)
        return other.restore_aligned(degraded, [shown], seeds=[1], settings=QUICK)[0]

    degraded, sharp = faces(1, "degraded"), reference(1)
    assert sharp.raw_embedding is not None
    shown = [reference(0), Reference(image=sharp.image, raw_embedding=sharp.raw_embedding * 20)]
    plain = restorer.restore_aligned(degraded, [shown], seeds=[1], settings=QUICK)[0]
    assert far(plain, restored("as the norms", (0.0, 1.0))) <= 2
    even = restored("all alike", (0.5, 0.5))
    assert far(plain, even) > 2 and far(even, restored("hot", (0.0, 1.0), temperature=1e6)) <= 2


def test_as_much_of_a_face_is_kept_as_the_run_measured(
    written: tuple[str, Callable[[str], str]], restorer: Restorer, tmp_path: Path
) -> None:
    checkpoint, finder = written
    degraded = faces(3, "degraded")
    plain = restorer.restore_aligned(degraded, seeds=[1, 2, 3], settings=QUICK)
    lengths = np.linalg.norm(restorer.embed(list(degraded), [None] * 3), axis=1)
    shutil.copytree(checkpoint, tmp_path / "kept")
    measured = {"pictures": 1, "judge": "j", "before": 0.0, "restored": 0.0, "kept": 0.0}

    def with_ramp(**ends: object) -> Restorer:
        write_description(tmp_path / "kept", replace(read_description(checkpoint), extra={"keep": measured | ends}))
        return Restorer(str(tmp_path / "kept"), weight_finder=finder)

    def of(other: Restorer, **settings: object) -> np.ndarray:
        return other.restore_aligned(degraded, seeds=[1, 2, 3], settings=replace(QUICK, **settings))

    all_kept = with_ramp(low=0.0, high=1e-6)
    assert far(of(all_kept), degraded) == 0
    assert far(of(all_kept, keep=0.0), plain) == 0
    half = of(restorer, keep=0.5)
    assert far(half, ((plain.astype(int) + degraded) // 2).astype(np.uint8)) <= 2
    middle = float(np.sort(lengths)[1])
    parted = of(with_ramp(low=middle - 1e-3, high=middle - 0.5e-3))
    best = np.argsort(lengths)
    assert far(parted[best[0]], plain[best[0]]) <= 1 and far(parted[best[2]], degraded[best[2]]) == 0
    with pytest.raises(CheckpointError, match="keep"):
        with_ramp(low=2.0, high=1.0)
    with pytest.raises(ConfigurationError, match="keep"):
        SamplerSettings(keep=1.5)


def test_references_are_believed_as_far_as_they_look_like_the_face(
    written: tuple[str, Callable[[str], str]], restorer: Restorer, tmp_path: Path
) -> None:
    checkpoint, finder = written
    degraded, shown = faces(2, "degraded"), [[reference(0)], [reference(1)]]
    alone, plain = (restorer.restore_aligned(degraded, of, seeds=[1, 2], settings=QUICK) for of in (None, shown))
    own, anchors = (functional.normalize(torch.from_numpy(np.stack(rows)).double()) for rows in (
        restorer.embed(list(degraded), [None] * 2), restorer.raw_embeddings([one for (one,) in shown])))
    cosines = like(own, anchors)
    shutil.copytree(checkpoint, tmp_path / "trusting")

    def trusting(**measured: float) -> Restorer:
        write_description(tmp_path / "trusting", replace(
            read_description(checkpoint), extra={"trust": {"pictures": 9, "auc": 0.9} | measured}))
        return Restorer(str(tmp_path / "trusting"), weight_finder=finder)

    def of(other: Restorer, **settings: object) -> np.ndarray:
        return other.restore_aligned(degraded, shown, seeds=[1, 2], settings=replace(QUICK, **settings))

    assert far(of(restorer, trust=1.0), plain) == 0 and far(of(restorer, trust=0.0), alone) <= 1
    assert far(alone, plain) > 2
    everybody, nobody = trusting(middle=-2.0, slope=100.0), trusting(middle=2.0, slope=100.0)
    assert far(of(nobody), alone) <= 1 and far(of(nobody, trust=1.0), plain) == 0
    assert far(of(everybody), plain) <= 1
    pushed = (of(other, reference_guidance=1.75) for other in (everybody, restorer))
    assert far(*pushed) <= 1
    assert far(of(nobody, fidelity=1.0), of(restorer, trust=0.0, fidelity=1.0)) <= 1
    best, worst = np.argmax(cosines), np.argmin(cosines)
    between = trusting(middle=float(np.mean(cosines)), slope=1e6)
    parted = of(between)
    assert far(parted[best], plain[best]) <= 1 and far(parted[worst], alone[worst]) <= 1
    assert between.trusted(1.0, QUICK) == 1 and between.trusted(-1.0, QUICK) == 0
    assert between.trusted(-1.0, replace(QUICK, trust=0.3)) == 0.3 and restorer.trusted(-1.0, QUICK) == 1
    with pytest.raises(CheckpointError, match="trust"):
        trusting(middle=0.0, slope=-1.0)
    with pytest.raises(ConfigurationError, match="trust"):
        SamplerSettings(trust=1.5)


def test_a_film_takes_multi_reference_guidance_and_is_not_pushed_twice(tmp_path: Path) -> None:
    checkpoint, finder = micro_checkpoint(tmp_path)
    write_description(checkpoint, replace(read_description(checkpoint), extra={"trust": {
        "middle": 0.2, "slope": 20.0, "pictures": 9, "auc": 0.9}}))
    other = Restorer(checkpoint, weight_finder=finder)
    own = replace(QUICK, input_guidance=1.2, context_guidance=1.2)
    crops = [Crop(frame, image, mean_landmarks(SIZE)) for frame, image in enumerate(faces(2, "degraded"))]

    def drawn(settings: SamplerSettings) -> list[np.ndarray]:
        return list(restored_crops(other, iter(crops), [reference(0)], seed=1, length=1.0, likeness=0.3,
                                   settings=settings, blending=None))

    assert len(drawn(own)) == 2
    with pytest.raises(ConfigurationError, match="reference_guidance"):
        drawn(replace(own, reference_guidance=1.5))


def test_frames_of_a_clip_are_believed_alike() -> None:
    own = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0]])
    anchors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(like(own, anchors), [1.0, 0.6, 1.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(like(own, anchors, frames=2), [0.8, 0.8, 0.5, 0.5], atol=1e-7)


def test_no_reference_mode_needs_no_references_argument(restorer: Restorer) -> None:
    degraded = faces(3, "degraded")
    without = restorer.restore_aligned(degraded, seeds=[1, 2, 3], settings=QUICK)
    empty = restorer.restore_aligned(degraded, [[], [], []], seeds=[1, 2, 3], settings=QUICK)
    assert without.shape == (3, SIZE, SIZE, 3) and without.dtype == np.uint8
    assert far(without, empty) == 0


def test_fidelity_dial_goes_from_sample_to_mean_estimate(restorer: Restorer) -> None:
    degraded = faces(2, "degraded")

    def at(fidelity: float, seed: int = 5, draws: int = 4) -> np.ndarray:
        settings = SamplerSettings(steps=3, fidelity=fidelity, mean_draws=draws)
        return restorer.restore_aligned(degraded, seeds=[seed, seed + 1], settings=settings).astype(float)

    sample, half, mean = at(0.0), at(0.5), at(1.0)
    assert np.abs(sample - mean).mean() > 1
    assert np.abs(half - mean).mean() < np.abs(sample - mean).mean()
    assert np.abs(half - sample).mean() < np.abs(sample - mean).mean()
    assert np.abs(at(1.0, draws=32) - at(1.0, seed=99, draws=32)).mean() < np.abs(sample - at(0.0, seed=99)).mean()
    with pytest.raises(ConfigurationError, match="fidelity"):
        SamplerSettings(fidelity=1.5)


def test_bfloat16_is_close_and_another_word_is_refused(restorer: Restorer) -> None:
    degraded, references = faces(2, "degraded"), [[reference(0)], [reference(1), reference(2)]]
    exact, fast = (restorer.restore_aligned(degraded, references, seeds=[1, 2], settings=SamplerSettings(
        steps=3, precision=precision)) for precision in ("fp32", "bf16"))
    difference = np.abs(exact.astype(int) - fast)
    assert 0 < difference.mean() < 4, "rounded to 8 bits of mantissa at every product"
    with pytest.raises(ConfigurationError, match="precision"):
        SamplerSettings(precision="int4")


def test_guidance_changes_the_image_and_one_means_none(restorer: Restorer) -> None:
    degraded, shown = faces(1, "degraded"), [[reference(0)]]

    def with_guidance(**strength: float) -> np.ndarray:
        return restorer.restore_aligned(degraded, shown, seeds=[3], settings=SamplerSettings(steps=3, **strength))

    assert far(with_guidance(), with_guidance(guidance=1.0, reference_guidance=1.0)) == 0
    assert far(with_guidance(), with_guidance(guidance=4.0)) > 1
    assert far(with_guidance(), with_guidance(reference_guidance=4.0)) > 1


def test_mean_landmarks_give_the_same_crop_again() -> None:
    points = mean_landmarks(SIZE)
    assert points.min() > 0 and points.max() < SIZE
    np.testing.assert_allclose(ffhq_matrix(points, SIZE), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_wrong_shapes_name_what_is_wrong(restorer: Restorer) -> None:
    with pytest.raises(DataError, match="64, 64"):
        restorer.restore_aligned(np.zeros((1, 32, 32, 3), np.uint8), seeds=[1])
    with pytest.raises(DataError, match="seeds 1"):
        restorer.restore_aligned(faces(2, "degraded"), seeds=[1])


def test_bad_checkpoints_are_refused_with_reasons(written: tuple[str, Callable[[str], str]], tmp_path: Path) -> None:
    folder, finder = written
    with pytest.raises(CheckpointError, match=r"checkpoint\.json"):
        Restorer(str(tmp_path / "nothing"), weight_finder=finder)
    poisoned = tmp_path / "poisoned"
    shutil.copytree(folder, poisoned)
    torch.save({"a": torch.zeros(1)}, poisoned / "ema.safetensors")
    with pytest.raises(CheckpointError, match="pickle"):
        Restorer(str(poisoned), weight_finder=finder)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    description = other / "checkpoint.json"
    description.write_text(description.read_text().replace('"lora_rank": 2', '"lora_rank": 4'))
    with pytest.raises(CheckpointError, match="shape"):
        Restorer(str(other), weight_finder=finder)
    with pytest.raises(ConfigurationError, match="device"):
        Restorer(folder, weight_finder=finder, device="quantum")
