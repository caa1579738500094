"""Measured numbers for the model cards, all on persons that no carried network has seen.

In: a trained network and held-out `Faces`. Out: flat dictionaries name -> number.
"""

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from anchorface.degradation import apply, draw
from anchorface.faces.adaface import AdaFaceNet
from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.face_encoder import FaceEncoder
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import rng
from anchorface.training.small_networks.augment import CROP
from anchorface.training.small_networks.autoencoder import (
    IMAGE,
    STORED,
    at_scale,
    decibels,
    middle,
    reconstruct,
)
from anchorface.training.small_networks.base import restore
from anchorface.training.small_networks.embedder import embed, plain_crops
from anchorface.training.small_networks.face_encoder import tokens_of
from anchorface.training.small_networks.people import SIDE, SOURCES, Faces
from anchorface.training.small_networks.verification import between_roles, found_at, within

STRENGTHS = ("refldm-moderate", "refldm-train", "refldm-severe")


def real_of(people: Faces, source: str) -> Faces:
    """The rows of one source, told by its roles."""
    return people.select(np.isin(people.role, SOURCES[source]))


def embedder_numbers(network: AdaFaceNet, synthetic: Faces, people: Faces) -> dict[str, float]:
    """AUC on synthetic identities (all pairs) and between the roles of real persons; norm against damage.

    Args:
        synthetic, people: held-out faces.
    """
    numbers: dict[str, float] = {}
    crops = plain_crops(synthetic)
    units, norms = embed(network, crops)
    auc, same, other = within(units, synthetic.person)
    numbers |= {"auc synthetic": auc, "found synthetic": found_at(same, other), "cosine same synthetic": same.mean(),
                "cosine other synthetic": other.mean()}
    for source, roles in SOURCES.items():
        chosen = real_of(people, source)
        found, real_norms = embed(network, plain_crops(chosen))
        auc, same, other = between_roles(found, chosen.person, chosen.role, roles)
        numbers |= {f"auc {source}": auc, f"found {source}": found_at(same, other),
                    f"cosine same {source}": same.mean(), f"cosine other {source}": other.mean(),
                    f"norm {source}": real_norms.mean()}
    numbers["norm clean synthetic"] = norms.mean()
    for kind, clean in (("synthetic", crops), ("real", plain_crops(people))):
        followed, means = norm_and_quality(network, clean)
        numbers[f"norm follows quality {kind}"] = followed
        numbers |= {f"norm {profile} {kind}": mean for profile, mean in means.items()}
    return {name: round(float(value), 4) for name, value in numbers.items()}


def norm_and_quality(network: AdaFaceNet, crops: np.ndarray) -> tuple[float, dict[str, float]]:
    """Spearman's rank correlation of the norm with the cosine to the clean crop, clean and damaged crops together;
    and the mean norm by damage.

    Args:
        crops: clean, uint8 [N, 112, 112, 3].
    """
    units, norms = embed(network, crops)
    lengths, cosines, means = [norms], [np.ones(len(norms))], {}
    for profile in STRENGTHS:
        worse = np.stack([apply(crop, draw(profile, rng(1, "norm against damage", k), CROP))
                          for k, crop in enumerate(crops)])
        found, length = embed(network, worse)
        lengths.append(length)
        cosines.append((found * units).sum(1))
        means[profile] = float(length.mean())
    return float(spearmanr(np.concatenate(lengths), np.concatenate(cosines)).statistic), means


def face_encoder_numbers(network: FaceEncoder, synthetic: Faces, people: Faces) -> dict[str, float]:
    """What tokens tell of held-out faces: a patch's pixels, the pose, and, unasked, the person."""
    numbers: dict[str, float] = {}
    for name, faces in (("synthetic", synthetic), ("real", people)):
        images = middle(at_scale(faces.images))
        tokens = tokens_of(network, images)
        half = np.isin(faces.person, np.unique(faces.person)[::2])
        size = network.shape.patch
        patches = images.reshape(-1, IMAGE // size, size, IMAGE // size, size, 3).transpose(0, 1, 3, 2, 4, 5)
        pixels = patches.reshape(len(images), -1, 3 * size**2).astype(np.float32) / 127.5 - 1
        known, asked = (tokens[rows, 1:].reshape(-1, tokens.shape[-1]) for rows in (half, ~half))
        shown, truth = (pixels[rows].reshape(-1, pixels.shape[-1]) for rows in (half, ~half))
        missed = np.square(_ridge(known, shown, asked) - truth).mean() / truth.var(axis=0).mean()
        numbers[f"pixels explained {name}"] = 1 - float(missed)
        pooled = tokens[:, 1:].mean(axis=1)
        if name == "synthetic":
            yaw = faces.role.astype(np.float32)[:, None]
            side = IMAGE // size
            columns = tokens[:, 1:].reshape(len(tokens), side, side, -1).mean(axis=1).reshape(len(tokens), -1)
            found = _ridge(columns[half], yaw[half], columns[~half], strength=0.3)
            numbers |= {"yaw error synthetic": float(np.abs(found - yaw[~half]).mean()),
                        "yaw error of the mean": float(np.abs(yaw[half].mean() - yaw[~half]).mean())}
            numbers["auc synthetic"] = within(_units(pooled), faces.person)[0]
    for source, roles in SOURCES.items():
        chosen = real_of(people, source)
        pooled = tokens_of(network, middle(at_scale(chosen.images)))[:, 1:].mean(axis=1)
        numbers[f"auc {source}"] = between_roles(_units(pooled), chosen.person, chosen.role, roles)[0]
    return {name: round(float(value), 4) for name, value in numbers.items()}


def _ridge(inputs: np.ndarray, outputs: np.ndarray, asked: np.ndarray, strength: float = 1e-3) -> np.ndarray:
    """Outputs [m, k] for `asked` [m, d], by a ridge regression on inputs [n, d] and outputs [n, k], normed first."""
    mean, deviation, middle_of = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6, outputs.mean(axis=0)
    normed = (inputs - mean) / deviation
    gram = normed.T @ normed + strength * len(normed) * np.eye(normed.shape[1], dtype=np.float32)
    return (asked - mean) / deviation @ np.linalg.solve(gram, normed.T @ (outputs - middle_of)) + middle_of


def _units(vectors: np.ndarray) -> np.ndarray:
    """Directions from the vectors' mean."""
    centred = vectors - vectors.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def autoencoder_numbers(model: Autoencoder, synthetic: Faces, people: Faces) -> dict[str, float]:
    """PSNR of reconstructions, dB, and how white the tokens are."""
    numbers: dict[str, float] = {}
    for name, faces in (("synthetic", synthetic), *((source, real_of(people, source)) for source in SOURCES)):
        images = middle(at_scale(faces.images))
        numbers[f"psnr {name}"] = decibels(reconstruct(model, images), levels_to_tensor(images))
    with torch.no_grad():
        tokens = model.encode(levels_to_tensor(middle(at_scale(synthetic.images))[:100]))
    numbers |= {"token mean, largest": float(tokens.mean((0, 1)).abs().max()), "token deviation": float(tokens.std())}
    return {name: round(float(value), 3) for name, value in numbers.items()}


def seams(images: np.ndarray, stride: int = 16) -> float:
    """The mean step between neighbours on both sides of a token's border over the mean step elsewhere; 1 is seamless.

    Args:
        images: [N, H, W, 3] levels. stride: pixels of a token's side.
    """
    grey = images.astype(np.float64).mean(-1)
    steps = [np.abs(np.diff(grey, axis=axis)).swapaxes(axis, 2) for axis in (1, 2)]
    border = np.arange(stride - 1, steps[0].shape[2], stride)
    inside = np.setdiff1d(np.arange(steps[0].shape[2]), border)
    return float(np.mean([step[..., border].mean() for step in steps])
                 / np.mean([step[..., inside].mean() for step in steps]))


def seam_numbers(backbone: nn.Module, autoencoder: Autoencoder, synthetic: Faces, people: Faces,
                 count: int = 64) -> dict[str, float]:
    """Seams of 12-step samples with references, and of the truth."""
    numbers: dict[str, float] = {}
    for name, faces in (("synthetic", synthetic), ("real", people)):
        _, target, degraded, references = base_cases(faces, "refldm-severe", count)
        numbers[f"seams {name} sample"] = seams(restore(backbone, autoencoder, degraded, references))
        numbers[f"seams {name} truth"] = seams(target)
    return {name: round(value, 3) for name, value in numbers.items()}


def base_numbers(backbone: nn.Module, autoencoder: Autoencoder, judges: dict[str, AdaFaceNet], synthetic: Faces,
                 people: Faces, profile: str = "refldm-severe", count: int = 64) -> dict[str, float]:
    """PSNR (dB) and judges' cosine to the truth: of the input, of a 12-step sample with and without references, of the
    one-step mean estimate without.

    Args:
        judges: name -> embedder. count: images of each kind, the same persons and plans at every call.
    """
    numbers: dict[str, float] = {}
    for name, faces in (("synthetic", synthetic), ("real", people)):
        chosen, target, degraded, references = base_cases(faces, profile, count)
        versions = {"input": degraded, "sample": restore(backbone, autoencoder, degraded),
                    f"sample with {len(references)}": restore(backbone, autoencoder, degraded, references),
                    "mean": restore(backbone, autoencoder, degraded, mean=True)}
        for version, images in versions.items():
            numbers[f"{name} {version} psnr"] = decibels(levels_to_tensor(images), levels_to_tensor(target))
            for judge, network in judges.items():
                truth, _ = embed(network, crops_from(target, chosen.landmarks))
                found, _ = embed(network, crops_from(images, chosen.landmarks))
                numbers[f"{name} {version} {judge}"] = float((truth * found).sum(1).mean())
    return {name: round(float(value), 3) for name, value in numbers.items()}


def base_cases(faces: Faces, profile: str, count: int,
               most: int = 3) -> tuple[Faces, np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """The faces of a base test, their 128 px targets, degraded versions and references; the same at every call.

    Each reference is another photograph of the person; there are as many as everybody has, `most` at most.
    """
    rows = rng(3, "base test", 0).permutation(len(faces))[:count]
    chosen, everything = faces.select(rows), middle(at_scale(faces.images))
    target = everything[rows]
    degraded = np.stack([apply(image, draw(profile, rng(3, "base test plan", k), IMAGE))
                         for k, image in enumerate(target)])
    others = []
    for k, row in enumerate(rows):
        same = np.flatnonzero((faces.person == faces.person[row]) & (np.arange(len(faces)) != row))
        others.append(rng(3, "base test references", k).permutation(same)[:most])
    given = min(len(same) for same in others)
    return chosen, target, degraded, tuple(everything[[same[r] for same in others]] for r in range(given))


def base_pictures(backbone: nn.Module, autoencoder: Autoencoder, faces: Faces, count: int = 12) -> list[np.ndarray]:
    """Rows to look at: degraded, sample, sample with references, first reference, mean estimate, target; uint8
    [count, 128, 128, 3] each.
    """
    _, target, degraded, references = base_cases(faces, "refldm-severe", count)
    return [degraded, restore(backbone, autoencoder, degraded), restore(backbone, autoencoder, degraded, references),
            *references[:1], restore(backbone, autoencoder, degraded, mean=True), target]


def crops_from(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """112 px crops from 128 px crops, by the landmarks of the wide crops that those are the middle of."""
    small = at_scale_points(landmarks)
    return np.stack([_crop(image, points) for image, points in zip(images, small, strict=True)])


def at_scale_points(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks of wide crops, in the pixels of the 128 px crop in their middle."""
    return (landmarks + 0.5) * (STORED / SIDE) - 0.5 - (STORED - IMAGE) // 2


def _crop(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    return warp(image, arcface_matrix(points), CROP)

