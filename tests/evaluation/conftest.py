"""A small real dataset version: synthetic people in real tars, with the carried embedder's embeddings."""

import hashlib
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anchorface.faces.align import apply_matrix, arcface_matrix, ffhq_matrix, warp
from anchorface.faces.attributes import brightness, clipped, light, perceptual_hash, sharpness, smile
from anchorface.faces.embed import embedder
from anchorface.faces.images import encode_jpeg
from anchorface.records import FACE_SCHEMA, Manifest, Shard
from anchorface.records.dataset import DatasetVersion
from anchorface.synthetic import album, render, seed_of

CROP = 128


def write_dataset(folder: Path, people: int, photos: int, network: str = "adaface_small") -> str:
    """People in turn to train, val and test; one tar per split."""
    net = embedder(network)
    splits: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for person in range(people):
        split = ("test", "train", "train", "val")[person % 4]
        for number, one in enumerate(album(seed_of(7, person), photos)):
            shot = render(one.head, one.state, 200)
            matrix = ffhq_matrix(shot.landmarks, CROP)
            crop = warp(shot.image, matrix, CROP)
            small = warp(shot.image, arcface_matrix(shot.landmarks), 112)
            unit, norm = net.embed(small[None])
            splits[split].append({
                "face_id": f"p{person:02d}n{number}-0", "photo_id": f"p{person:02d}n{number}",
                "uri": f"p{person:02d}/{number}.jpg", "score": 1.0, "smile": smile(shot.landmarks),
                **dict(zip(("light_x", "light_y"), light(small), strict=True)), "clipped": clipped(small),
                "identity": f"p{person:02d}",
                "split": split, "crop_size": CROP, "jpeg": encode_jpeg(crop),
                "crop_landmarks": apply_matrix(matrix, shot.landmarks).ravel().tolist(), "yaw": shot.yaw,
                "pitch": shot.pitch, "roll": shot.roll, "age": shot.age, "norm": float(norm[0]),
                "sharpness": sharpness(small), "brightness": brightness(crop), "embedding": unit[0].tolist(),
                "perceptual_hash": perceptual_hash(small), "taken": one.taken, "licence": "CC0-1.0",
                "consent": "synthetic", "source": "synthetic",
            })
    shards, rows = [], []
    (folder / "shards").mkdir(parents=True)
    for split, faces in splits.items():
        path = f"shards/{split}-00000.tar"
        with tarfile.open(folder / path, "w") as tar:
            for face in faces:
                jpeg = face.pop("jpeg")
                member = tarfile.TarInfo(f"{face['face_id']}.jpg")
                member.size = len(jpeg)
                rows.append({**face, "shard": path, "offset": tar.offset + 512, "byte_size": len(jpeg)})
                tar.addfile(member, io.BytesIO(jpeg))
        content = (folder / path).read_bytes()
        shards.append(Shard(path=path, split=split, identities=tuple(dict.fromkeys(f["identity"] for f in faces)),
                            faces=len(faces), byte_size=len(content), sha256=hashlib.sha256(content).hexdigest()))
    schema = pa.schema([("identity", pa.string()), ("split", pa.string()), ("shard", pa.string()),
                        ("offset", pa.int64()), ("byte_size", pa.int64()),
                        *[f for f in FACE_SCHEMA if f.name in rows[0] and f.name != "byte_size"]])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "faces.parquet")
    manifest = Manifest(
        shards=tuple(shards), licences={"CC0-1.0": len(rows)}, consents={"synthetic": len(rows)},
        counts={s: {"faces": len(f), "identities": len({r["identity"] for r in f})} for s, f in splits.items()},
        weights={}, settings={"embedder": network},
        faces_sha256=hashlib.sha256((folder / "faces.parquet").read_bytes()).hexdigest())
    (folder / "manifest.json").write_text(manifest.to_json())
    return str(folder)


@pytest.fixture(scope="session")
def dataset_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight synthetic people with four photographs each; two of them are held out in `test`."""
    return write_dataset(tmp_path_factory.mktemp("dataset") / "version", people=8, photos=4)


@pytest.fixture(scope="session")
def dataset(dataset_uri: str) -> DatasetVersion:
    return DatasetVersion.open(dataset_uri)
