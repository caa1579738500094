"""Invented persons from real photographs: an identity for each ordered pair of two persons and a way to join them.

So few real persons are at hand that a network could learn them by heart. Joining the eyes of one with the mouth of
another, in both of their photographs alike, makes many more identities with real skin, light and years between.
"""

import cv2
import numpy as np

from anchorface.faces.align import arcface_matrix, compose, inverse
from anchorface.records import rng
from anchorface.training.small_networks.people import SIDE, Faces

WAYS = ("eyes", "lower", "mean")
"""What comes from the second person: the band of eyes and brows, all below the nose's tip, or half of every pixel."""


def _mask(way: str, landmarks: np.ndarray) -> np.ndarray:
    """Share of the second person, float32 [176, 176, 1], soft at its edge."""
    if way == "mean":
        return np.full((SIDE, SIDE, 1), 0.5, np.float32)
    (eye_x, eye_y), (nose_x, nose_y) = landmarks[:2].mean(axis=0), landmarks[2]
    span = float(np.hypot(*(landmarks[1] - landmarks[0])))
    mask = np.zeros((SIDE, SIDE), np.float32)
    if way == "eyes":
        centre, axes = (eye_x, eye_y - 0.1 * span), (1.0 * span, 0.45 * span)
    else:
        centre, axes = (nose_x, nose_y + 0.75 * span), (0.95 * span, 0.95 * span)
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), (int(axes[0]), int(axes[1])), 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), 0.09 * span)[..., None]


def join(first: np.ndarray, first_landmarks: np.ndarray, second: np.ndarray, second_landmarks: np.ndarray,
         way: str) -> np.ndarray:
    """One picture of an invented person.

    Args:
        first, second: uint8 [176, 176, 3]; landmarks float32 [5, 2] in each. way: one of `WAYS`.

    Returns:
        uint8 [176, 176, 3] with the first person's landmarks; the second's colours are brought to the first's.
    """
    matrix = compose(inverse(arcface_matrix(first_landmarks)), arcface_matrix(second_landmarks))
    other = cv2.warpAffine(second, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    middle = slice(int(0.35 * SIDE), int(0.75 * SIDE))
    a, b = first[middle, middle].astype(np.float32), other[middle, middle].astype(np.float32)
    gain = (a.std(axis=(0, 1)) + 4.0) / (b.std(axis=(0, 1)) + 4.0)
    matched = (other - b.mean(axis=(0, 1))) * gain + a.mean(axis=(0, 1))
    share = _mask(way, first_landmarks)
    return np.clip(first + share * (matched - first), 0, 255).astype(np.uint8)


def invent(people: Faces, count: int, seed: int) -> Faces:
    """Invented persons, four pictures each: both roles of the first with both roles of the second.

    Args:
        people: real persons with two roles each. count: how many to invent; pairs are of one source (same roles).
    """
    images, landmarks, persons, roles = [], [], [], []
    names = np.unique(people.person)
    for number in range(count):
        g = rng(seed, "composite", number)
        while True:
            first, second = (np.flatnonzero(people.person == name) for name in g.choice(names, 2, replace=False))
            if set(people.role[first]) == set(people.role[second]):
                break
        way = WAYS[int(g.integers(len(WAYS)))]
        for i in first:
            for j in second:
                images.append(join(people.images[i], people.landmarks[i], people.images[j], people.landmarks[j], way))
                landmarks.append(people.landmarks[i])
                persons.append(f"invented-{number}")
                roles.append(f"{people.role[i]}+{people.role[j]}")
    return Faces(np.stack(images), np.stack(landmarks), np.array(persons), np.array(roles))
