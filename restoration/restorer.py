"""Using a checkpoint on aligned faces: degraded crops and references in, restored crops out.

images: uint8 [S, S, 3] RGB, S = `Restorer.size` (128 for the tiny twin); FFHQ alignment (faces.align.ffhq_matrix).
landmarks: [5, 2] in the image's pixels. seeds: one integer per image, which alone decides its noise.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anchorface.faces import weights
from anchorface.faces.align import ARCFACE_TEMPLATE, apply_matrix, arcface_matrix, ffhq_matrix, warp
from anchorface.faces.attributes import AgeNetwork
from anchorface.faces.embed import TorchEmbedder
from anchorface.faces.face_encoder import face_encoder
from anchorface.faces.quality import NormCalibration
from anchorface.models.anchor import require_embeddings
from anchorface.models.cache import Cache
from anchorface.models.checkpoint import load_model
from anchorface.models.conditions import Conditions
from anchorface.models.encode import Encoders, conditions, looked_at
from anchorface.models.flow import VelocityFunction, shift_schedule
from anchorface.models.ip_fvr.negatives import away_from
from anchorface.models.keep import Keep, blend
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.rg_ipfr.guidance import multi_reference
from anchorface.models.sampler import guided, initial_noise, mean_estimate, sample
from anchorface.models.trust import Trust
from anchorface.records import CheckpointError, ConfigurationError, DataError, derive
from anchorface.records.attributes import ATTRIBUTE_NAMES, ATTRIBUTES, CLEAN, attribute_row
from anchorface.records.storage import list_files, read_bytes
from anchorface.restoration.sampler_settings import SamplerSettings

EMBEDDING_SIZE = 112
AGE_PLACE = ATTRIBUTE_NAMES.index("age")
UNGUIDED = (1.0, 1.0)
"""s_i and s_c of the plain mean over references."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One reference photograph, aligned.

    image: uint8 [s, s, 3], FFHQ-aligned, any side. raw_embedding: [D] before normalisation, by the checkpoint's
    embedder; without it, it is computed from the image and its landmarks [5, 2] (None: the mean face's place).
    """

    image: np.ndarray
    landmarks: np.ndarray | None = None
    raw_embedding: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """given: what the network is told of faces. own: their own embeddings [B, D], where a guidance needs them. images:
    the degraded faces [B, 3, S, S]. shares: how much of each stays, [B]; None: nothing of any. trust: how far each
    one's references are believed, [B]; None: all of them, whole.
    """

    given: Conditions
    own: Tensor | None
    images: Tensor
    shares: np.ndarray | None
    trust: np.ndarray | None = None

    def heard(self, guidance: float) -> float | Tensor:
        """The guidance along the references as far as they are believed, each face's own [B, 1, 1]."""
        if self.trust is None:
            return guidance
        return guidance * torch.from_numpy(self.trust).to(self.images)[:, None, None]


class Restorer:
    """A loaded checkpoint, ready to restore aligned faces.

    Args:
        checkpoint: folder with checkpoint.json and safetensors files (models.checkpoint).
        device: `cpu`, `cuda`, `cuda:1`, or `auto` (a GPU where there is one).
        weight_finder: weight name -> path; None looks where faces.weights looks.
        use_ema: the averaged weights rather than the last ones.
        batch: faces at once; no effect on any face.

    Conditions are made as in training (models.encode): references are weighed in the anchor as the run weighed them,
    with its temperature and the norm calibration that its checkpoint carries, if it carries one.

    Raises:
        CheckpointError: damaged, unsafe or of another configuration. WeightsError: a weight file is not here.
        ConfigurationError: the embedder does not fit the checkpoint, or there is no such device.
    """

    def __init__(self, checkpoint: str, *, device: str = "cpu", weight_finder: Callable[[str], str] | None = None,
                 use_ema: bool = True, batch: int = 16) -> None:
        self.device = find_device(device)
        self.batch = batch
        loaded = load_model(checkpoint, weight_finder or (lambda name: str(weights.find(name))), use_ema=use_ema)
        self.settings, self.description = loaded.settings, loaded.description
        self.network = loaded.network.to(self.device).eval()
        self.folder = str(checkpoint)
        self.embedder = TorchEmbedder(self.embedder_name, str(self.device))
        takes = self.settings.system.identity_dimension
        if takes not in (0, self.embedder.dimension):
            raise ConfigurationError(f"{checkpoint} takes embeddings of {takes} numbers, but its embedder "
                                     f"{self.embedder_name} gives {self.embedder.dimension}")
        reader = self.description.weights.get("face_encoder")
        calibration, keep, trust = (self.description.extra.get(name) for name in ("norm_calibration", "keep", "trust"))
        try:
            self.keep = Keep.from_dict(keep) if keep else None
            self.trust = Trust.from_dict(trust) if trust else None
        except ConfigurationError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from error
        self.encoders = Encoders(
            autoencoder=loaded.autoencoder.to(self.device).eval(), text=loaded.text.to(self.device),
            embedder=self.embedder.network, temperature=self.description.anchor.temperature,
            quality=NormCalibration.from_json(calibration).quality if calibration else None,
            face_encoder=face_encoder(reader.name).to(self.device) if reader else None,
            concatenates=self.settings.system.concatenates,
        )

    @property
    def size(self) -> int:
        """Side of the faces that go in and come out, in pixels."""
        return int(self.settings.image_size)

    @property
    def embedder_name(self) -> str:
        """The weight name of the network in the anchor."""
        return str(self.description.embedder)

    @cached_property
    def checkpoint_id(self) -> str:
        """The first 16 hex digits of a hash over the checkpoint's description and weight files."""
        digest = hashlib.sha256()
        for name, uri in sorted((uri.rpartition("/")[2], uri) for uri in list_files(self.folder, recursive=False)):
            digest.update(name.encode() + read_bytes(uri))
        return digest.hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """What a report says of the checkpoint."""
        return {"name": self.folder.rstrip("/").rpartition("/")[2], "id": self.checkpoint_id}

    def restore_aligned(self, degraded: np.ndarray, references: Sequence[Sequence[Reference]] | None = None, *,
                        seeds: Sequence[int], landmarks: np.ndarray | None = None,
                        settings: SamplerSettings | None = None) -> np.ndarray:
        """Restore a batch of aligned faces.

        Faces are grouped by their number of references, because without references that segment is removed from
        the sequence, not padded.

        Args:
            degraded: uint8 [B, S, S, 3].
            references: for each face zero or more references; None: no face has any.
            seeds: [B].
            landmarks: [B, 5, 2] in the degraded faces; used where there is no reference, to embed the degraded face
                itself. None: the mean face's place.

        Returns:
            uint8 [B, S, S, 3].

        Raises:
            DataError: shapes or lengths that do not fit.
        """
        settings = settings or SamplerSettings()
        references = references if references is not None else [()] * len(degraded)
        self._check(degraded, references, seeds, landmarks)
        groups = defaultdict(list)
        for place, of_face in enumerate(references):
            groups[len(of_face)].append(place)
        result = np.empty_like(degraded)
        for places in groups.values():
            for start in range(0, len(places), self.batch):
                part = places[start:start + self.batch]
                points = None if landmarks is None else landmarks[part]
                result[part] = self._restore(degraded[part], [references[p] for p in part], [seeds[p] for p in part],
                                             points, settings)
        return result

    @torch.no_grad()
    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """What the autoencoder alone keeps of aligned faces: uint8 [B, S, S, 3] to the same."""
        return tensor_to_levels(self._picture(self.encoders.autoencoder.encode(levels_to_tensor(images, self.device))))

    def embed(self, images: Sequence[np.ndarray], landmarks: Sequence[np.ndarray | None]) -> np.ndarray:
        """Raw embeddings [B, D] (unit times norm) of aligned faces of any side."""
        unit, norm = self.embedder.embed(self._crops(images, landmarks))
        return unit * norm[:, None]

    def _crops(self, images: Sequence[np.ndarray], landmarks: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([
            warp(image, arcface_matrix(mean_landmarks(len(image)) if points is None else points, EMBEDDING_SIZE),
                 EMBEDDING_SIZE) for image, points in zip(images, landmarks, strict=True)])

    @torch.no_grad()
    def _restore(self, degraded: np.ndarray, references: Sequence[Sequence[Reference]], seeds: Sequence[int],
                 landmarks: np.ndarray | None, settings: SamplerSettings) -> np.ndarray:
        asked = self.asked(degraded, references, landmarks, settings)
        clean = torch.zeros_like(asked.given.degraded)
        if settings.fidelity > 0:
            for draw in range(settings.mean_draws):
                noise = self.noise([derive(seed, "mean estimate", draw) for seed in seeds], clean)
                mean = self.unguided(asked, settings)
                clean += settings.fidelity * mean_estimate(mean, noise) / settings.mean_draws
        if settings.fidelity < 1:
            drawn = sample(self.velocity(asked, settings), self.noise(seeds, clean), self.levels(settings))
            clean += (1 - settings.fidelity) * drawn
        return self.decode(clean, asked.images, asked.shares)

    @torch.no_grad()
    def asked(self, degraded: np.ndarray, references: Sequence[Sequence[Reference]], landmarks: np.ndarray | None,
              settings: SamplerSettings, frames: int = 1) -> "Asked":
        """What the network is told of faces uint8 [B, S, S, 3] that have equally many references.

        Args:
            frames: of a clip; B = clips * frames.

        Raises:
            ConfigurationError: attributes for a system that hears none. WeightsError: the age network is not here.
        """
        images, count = levels_to_tensor(degraded, self.device), len(degraded)
        points = [mean_landmarks(self.size)] * count if landmarks is None else list(landmarks)
        matrices = np.stack([arcface_matrix(of_face, EMBEDDING_SIZE) for of_face in points])
        shown = [levels_to_tensor(np.stack([self._fit(of_face[r].image) for of_face in references]), self.device)
                 for r in range(len(references[0]))]
        given = conditions(self.encoders, images, shown, matrices, self._raw_embeddings(references) if shown else None)
        given = replace(given, frames=frames, context_scales=settings.context_scales)
        if settings.speaks and not self.settings.system.hears_attributes:
            raise ConfigurationError(f"{self.folder}: its system hears no attributes; say none, and avoid none")
        if self.settings.system.hears_attributes:
            rows = np.tile(attribute_row(CLEAN | dict(settings.attributes)), (count, 1))
            if settings.age_of_references and shown:
                rows[:, AGE_PLACE] = self._ages(references) / ATTRIBUTES[AGE_PLACE].whole
            given = given.with_attributes(torch.from_numpy(rows).to(self.device))
        shares = np.full(count, settings.keep) if settings.keep else None
        ramp = self.keep if settings.keep is None else None
        trust = np.full(count, settings.trust) if shown and settings.trust not in (None, 1.0) else None
        judged = self.trust if shown and settings.trust is None else None
        own = None
        if ramp is not None or judged is not None or trust is not None or self._goes_beyond(settings):
            own, lengths = looked_at(self.encoders.embedder, images, matrices)
            shares = shares if ramp is None else ramp.share(lengths[:, 0].cpu().numpy())
            if judged is not None:
                assert given.identity is not None
                trust = judged.share(like(own, given.identity, frames))
        return Asked(given=given, own=own, images=images, shares=shares, trust=trust)

    def trusted(self, cosine: float, settings: SamplerSettings) -> float:
        """How far references are believed of a face whose embedding has this cosine with their anchor, 0..1."""
        if settings.trust is not None:
            return settings.trust
        return 1.0 if self.trust is None else float(self.trust.share(cosine))

    def _goes_beyond(self, settings: SamplerSettings) -> bool:
        """Whether faces are drawn by more than the network's own velocity, which needs what they are without more."""
        return settings.scales(self.settings.system) is not None or settings.reference_guidance != 1.0

    def velocity(self, asked: "Asked", settings: SamplerSettings) -> VelocityFunction:
        """The velocity that faces are drawn with, guided as the settings say."""
        given, scales = asked.given, settings.scales(self.settings.system)
        branches: list[tuple[float | Tensor, VelocityFunction]] = []
        if settings.guidance != 1.0:
            empty = given.with_text(self.encoders.text(len(given.text), empty=True))
            branches.append((settings.guidance - 1.0, self._velocity(replace(asked, given=empty), settings, scales)))
        if scales is None and given.faces:
            branches += self._beyond(asked, settings, settings.reference_guidance)
        if not settings.negatives:
            return guided(self._velocity(asked, settings, scales), branches)
        away = away_from(partial(self._predict, settings), given, settings.negatives, most=self.batch,
                         reuse=settings.reuse_context)
        return guided(away, branches)

    def unguided(self, asked: "Asked", settings: SamplerSettings) -> VelocityFunction:
        """The network's own velocity, the plain mean over references, as far as they are believed."""
        plain = settings.scales(self.settings.system) and UNGUIDED
        velocity = self._velocity(asked, settings, plain)
        return velocity if plain else guided(velocity, self._beyond(asked, settings, 1.0))

    def _beyond(self, asked: Asked, settings: SamplerSettings, guidance: float
                ) -> list[tuple[float | Tensor, VelocityFunction]]:
        """The branch without references, as `guided` takes it; none where they are believed and nothing is pushed."""
        if guidance == 1.0 and asked.trust is None:
            return []
        alone = replace(asked, given=asked.given.without_references(asked.own))
        return [(asked.heard(guidance) - 1.0, self._velocity(alone, settings, None))]

    def levels(self, settings: SamplerSettings) -> Tensor:
        """The noise levels of the steps, [steps + 1]."""
        return shift_schedule(settings.steps, self.settings.tokens_per_side**2, settings.mu)

    def noise(self, seeds: Sequence[int], like: Tensor, frames: Sequence[int] = ()) -> Tensor:
        """Noise of the shape of tokens [B, L, C], a seed a row; or a clip's, whose frames have these numbers."""
        return initial_noise(seeds, tuple(like.shape[1:]), self.device, frames, self.settings.system.shared_noise)

    @torch.no_grad()
    def decode(self, tokens: Tensor, degraded: Tensor, shares: np.ndarray | None) -> np.ndarray:
        """Clean tokens [B, L, C] as uint8 [B, S, S, 3], with shares [B] of the degraded faces [B, 3, S, S] in them."""
        picture = self._picture(tokens)
        return tensor_to_levels(picture if shares is None else blend(picture.clamp(-1, 1), degraded, shares))

    def _picture(self, tokens: Tensor) -> Tensor:
        side = self.settings.tokens_per_side
        return self.encoders.autoencoder.picture(tokens, side, side)

    def _ages(self, references: Sequence[Sequence[Reference]]) -> np.ndarray:
        """Years that a network sees in each face's references, the mean over them, [B]."""
        every = {id(one): one for of_face in references for one in of_face}
        ages = dict(zip(every, self._age_network.ages(self._crops(
            [one.image for one in every.values()], [one.landmarks for one in every.values()])).tolist(), strict=True))
        return np.array([np.mean([ages[id(one)] for one in of_face]) for of_face in references])

    @cached_property
    def _age_network(self) -> AgeNetwork:
        return AgeNetwork()

    def _velocity(self, asked: Asked, settings: SamplerSettings, scales: tuple[float, float] | None
                  ) -> VelocityFunction:
        if scales is None:
            cache = Cache(reuse=settings.reuse_context)
            return lambda z, sigma: self._predict(settings, z, sigma, asked.given, cache)
        return multi_reference(partial(self._predict, settings), asked.given, asked.own, input_scale=scales[0],
                               context_scale=asked.heard(scales[1]), most=self.batch, reuse=settings.reuse_context)

    def _predict(self, settings: SamplerSettings, z: Tensor, sigma: Tensor, of: Conditions, cache: Cache) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            return self.network(z, sigma, of, cache).float()

    def raw_embeddings(self, references: Sequence[Reference]) -> np.ndarray:
        """Of references, [R, D] before normalisation; R may be 0."""
        raw = [one.raw_embedding if one.raw_embedding is not None else self.embed([one.image], [one.landmarks])[0]
               for one in references]
        return np.stack(raw) if raw else np.zeros((0, self.embedder.dimension), np.float32)

    def _raw_embeddings(self, references: Sequence[Sequence[Reference]]) -> Tensor:
        """Of each face's references, [B, R, D]."""
        raw = np.stack([self.raw_embeddings(of_face) for of_face in references])
        found = torch.from_numpy(raw).to(self.device, torch.float64)
        require_embeddings(found)
        return found

    def _fit(self, image: np.ndarray) -> np.ndarray:
        scale = self.size / len(image)
        matrix = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5]])
        return image if scale == 1 else warp(image, matrix, self.size)

    def _check(self, degraded: np.ndarray, references: Sequence[Sequence[Reference]], seeds: Sequence[int],
               landmarks: np.ndarray | None) -> None:
        wanted = (self.size, self.size, 3)
        if degraded.ndim != 4 or degraded.shape[1:] != wanted or degraded.dtype != np.uint8:
            raise DataError(f"degraded faces must be uint8 [B, {self.size}, {self.size}, 3] for {self.folder}, "
                            f"not {degraded.dtype} {list(degraded.shape)}")
        lengths = {"references": len(references), "seeds": len(seeds),
                   "landmarks": len(degraded) if landmarks is None else len(landmarks)}
        if wrong := [f"{name} {count}" for name, count in lengths.items() if count != len(degraded)]:
            raise DataError(f"{len(degraded)} degraded faces, but {', '.join(wrong)}: one each is needed")


def like(own: Tensor, anchors: Tensor, frames: int = 1) -> np.ndarray:
    """Cosines [B] of faces with their references' anchors, both unit [B, D]; of a clip's frames the mean, so that none
    of them is drawn otherwise than its neighbours."""
    cosines = (own.double() * anchors.double()).sum(dim=-1)
    return cosines.view(-1, frames).mean(dim=1).repeat_interleave(frames).cpu().numpy()


def mean_landmarks(size: int) -> np.ndarray:
    """Where the ArcFace template's mean face lies in an FFHQ crop of `size` pixels: [5, 2]."""
    return apply_matrix(ffhq_matrix(ARCFACE_TEMPLATE, size), ARCFACE_TEMPLATE)


def find_device(name: str) -> torch.device:
    """A torch device by name, `auto` for a GPU where there is one.

    Raises:
        ConfigurationError: no such device on this machine.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(1, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(f"device {name!r}: {str(error).splitlines()[0]}; use cpu, cuda or auto") from error
