"""Who comes back? Copies of erased photographs, and strangers kept out, by embedder, on real photographs.

    python benchmarks/erasure.py [--photos ../shared/data/photos] [--networks adaface_small,...]

Each of the persons of `people` is erased alone, with all photographs. Then every photograph comes again: saved anew
(JPEG quality 60), cropped (4 to 8 % at each side), mirrored, and at half the size, each detected again. Rows: the
share of copies that are not kept out, and of other people's faces (the rest of `people`, `congress`, `london`) that
are, where

    mean       only a person's mean code is kept
    person     each erased face's own code too: what erasing a person keeps
    picture    face and perceptual hash of one photograph, as it is and mirrored, no code of the person: what erasing a
               photograph keeps; its last column is the share of photographs with which another one of the same person
               is kept out

p13 and p14, who may also stand in `congress`, are left out.
"""

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.faces.align import apply_matrix, arcface_matrix, ffhq_matrix, warp
from anchorface.faces.attributes import perceptual_hash
from anchorface.faces.detect import Detector
from anchorface.faces.embed import embedder
from anchorface.faces.images import decode_jpeg, encode_jpeg, read_photo
from anchorface.faces.weights import find
from anchorface.identity_index.tombstones import Tombstones, bury
from anchorface.identity_index.unit import unit
from anchorface.pipelines.erasure.mirrored import mirrored_face

NETWORKS = "adaface_small,mobileface_mit_112,mobilefacenet_y1_ms1m_112"
CROP = 256
KINDS = ("saved anew", "cropped", "mirrored", "half size")
SALT = hashlib.sha256(b"of the benchmark").digest()


def copies(pixels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The picture, and its copies."""
    height, width = pixels.shape[:2]
    yield "", pixels
    yield "saved anew", decode_jpeg(encode_jpeg(pixels, 60))
    yield "cropped", pixels[round(0.06 * height) : round(0.96 * height), round(0.08 * width) : round(0.95 * width)]
    yield "mirrored", np.ascontiguousarray(pixels[:, ::-1])
    yield "half size", cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def faces(root: Path, detector: Detector) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(folder/person, kind of copy, 112 px crop, that of the mirrored face) of the largest face of every photograph."""
    for folder in ("people", "congress", "london"):
        with (root / folder / "index.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["person"] not in ("p13", "p14")]
        for row in rows:
            pixels, _ = read_photo(str(root / folder / row["file"]))
            for kind, copy in copies(pixels) if folder == "people" else [("", pixels)]:
                found = detector.detect([copy])[0]
                if found:
                    face = max(found, key=lambda each: (each.box[2] - each.box[0]) * (each.box[3] - each.box[1]))
                    small = warp(copy, arcface_matrix(face.landmarks, 112), 112)
                    matrix = ffhq_matrix(face.landmarks, CROP)
                    crop = encode_jpeg(warp(copy, matrix, CROP))
                    way = mirrored_face(crop, apply_matrix(matrix, face.landmarks))
                    yield f"{folder}/{row['person']}", kind, small, way


def measure(
    network: str, person: np.ndarray, kind: np.ndarray, units: np.ndarray, hashes: np.ndarray,
    mirrored: tuple[np.ndarray, np.ndarray],
) -> None:
    """Print the network's rows. mirrored: embeddings and hashes of the mirrored faces."""
    back: dict[str, dict[str, list[bool]]] = {way: {one: [] for one in KINDS} for way in ("mean", "person", "picture")}
    wrong: dict[str, list[bool]] = {way: [] for way in back}
    others: list[bool] = []
    for name in sorted({each for each in person.tolist() if each.startswith("people/")}):
        mine = (person == name) & (kind == "")
        mean = [(network, "", unit(units[mine].mean(axis=0, keepdims=True)))]
        pictures = {network: (units[mine], hashes[mine])}
        for way in ("mean", "person"):
            with tempfile.TemporaryDirectory() as out:
                known = pictures if way == "person" else {}
                stones = bury(out, "one", photos=[], people=mean, pictures=known, salt=SALT)
            for one in KINDS:
                back[way][one] += (~kept(stones, network, units, hashes, (person == name) & (kind == one))).tolist()
            wrong[way] += kept(stones, network, units, hashes, (person != name) & (kind == "")).tolist()
        for number in np.flatnonzero(mine):
            with tempfile.TemporaryDirectory() as out:
                only = {network: (units[[number]], hashes[[number]])}
                ways = {network: (np.zeros(1, np.int64), *(each[[number]] for each in mirrored))}
                stones = bury(out, "one", photos=[], people=[], pictures=only, mirrored=ways, salt=SALT)
            for one in KINDS:
                place = np.zeros(len(kind), bool)
                place[np.flatnonzero((kind == one) & (np.arange(len(kind)) > number))[:1]] = True
                back["picture"][one] += (~kept(stones, network, units, hashes, place)).tolist()
            wrong["picture"] += kept(stones, network, units, hashes, (person != name) & (kind == "")).tolist()
            rest = mine.copy()
            rest[number] = False
            others.append(bool(kept(stones, network, units, hashes, rest).any()))
    for way, rates in back.items():
        told = "".join(f"{np.mean(rates[one]):>12.1%}" for one in KINDS)
        last = f"{np.mean(others):>12.1%}" if way == "picture" else ""
        print(f"{network:<28}{way:<10}{told}{np.mean(wrong[way]):>12.3%}{last}", flush=True)


def kept(stones: Tombstones, network: str, units: np.ndarray, hashes: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Which of these faces are kept out."""
    return stones.has_person(units[which], network) | stones.has_picture(units[which], hashes[which], network)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data/photos")
    parser.add_argument("--networks", default=NETWORKS)
    options = parser.parse_args()
    if not options.photos.exists():
        print(f"{options.photos}: no photographs here; name their folder with --photos")
        return
    found = list(faces(options.photos, Detector(find("scrfd_2.5g_kps", "detector"))))
    person, kind = (np.array([each[column] for each in found]) for column in (0, 1))
    crops, ways = (np.stack([each[column] for each in found]) for column in (2, 3))
    hashes, looks = (np.array([perceptual_hash(each) for each in some], np.uint64) for some in (crops, ways))
    print(f"{(kind == '').sum()} photographs of {len(np.unique(person))} persons; {(kind != '').sum()} copies")
    print(f"{'network':<28}{'kept':<10}" + "".join(f"{one:>12}" for one in (*KINDS, "strangers", "own others")))
    for network in options.networks.split(","):
        net = embedder(network)
        units, mirrored = (net.embed(each)[0] for each in (crops, ways))
        measure(network, person, kind, units, hashes, (mirrored, looks))


if __name__ == "__main__":
    main()
