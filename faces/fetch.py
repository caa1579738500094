"""Weights from where their authors publish them: the names of sets, the licences, and the one way to get a file.

A weight comes from the address in the table of weights, under its hash; FLUX.2-klein's folders by the model hub's own
client into its cache, under a commit; InsightFace's packs by the names and addresses of their own package (the extra
`insightface`), under the archive's hash and those of its members. What is non-commercial is accepted by whoever fetches
it, before a byte comes.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from anchorface.faces import weights
from anchorface.faces.weight_table import PACKS, Weight
from anchorface.records.download import LARGEST, Told, download
from anchorface.records.errors import ConsentError, DataError, StorageError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.records.storage import make_folder, require_writable, writing

SETS: dict[str, tuple[str, ...]] = {
    "curate": ("scrfd_2.5g_kps", "fsanet_1x1", "fsanet_var"),
    "evaluate": ("niqe_pris_params", "vgg16_imagenet", "alexnet_imagenet", "inception_fid"),
    "klein": ("flux2_klein_base_4b", "flux2_vae", "flux2_klein_text_encoder", "flux2_klein_tokenizer",
              "adaface_ir50_ms1mv2"),
    **{pack: tuple(entry.name for entry in weights.WEIGHTS if entry.pack == pack) for pack in PACKS},
}
"""What belongs together: for the verbs of that name, for training on FLUX.2-klein, and InsightFace's packs."""
KLEIN_GIB = 20
"""Memory of a GPU that trains on FLUX.2-klein, one picture at a time: 17.3 GiB were measured (docs/results.md)."""


def wanted(names: Iterable[str]) -> tuple[Weight, ...]:
    """The weights of names and of sets' names, each once.

    Raises:
        WeightsError: a name that is neither, or a weight that cannot be fetched; says what to do instead.
    """
    found: dict[str, Weight] = {}
    for name in names:
        for each in SETS.get(name, (name,)):
            found[each] = _fetchable(each)
    return tuple(found.values())


def accept(entries: Iterable[Weight], accepted: bool) -> None:
    """Let pass what may be used for any purpose, what is here already, and what is accepted.

    Raises:
        ConsentError: a non-commercial weight that is to be fetched and was not accepted.
    """
    if kept := [entry for entry in entries if not (entry.commercial or accepted or weights.present(entry.name))]:
        lines = "".join(f"\n  {entry.name}: {entry.licence}" for entry in kept)
        raise ConsentError(f"not for commercial use:{lines}\nNothing was fetched. If you use them within these "
                           "licences, add --accept-licence to the command.")


def fetch(entry: Weight, told: Told = lambda have, whole: None) -> Path:
    """Get a weight, or what is missing of it, and say where it is.

    Args:
        told: is called as bytes come, where they come from an address of the table.

    Raises:
        WeightsError: it cannot be had, is not what the table says, or cannot be written; what came is kept or not as
            the text says. ConfigurationError: another process is getting it.
    """
    path = weights.locate(entry)
    if path is not None and (path != weights.cache() / (entry.copy or entry.file) or weights.present(entry.name)):
        return weights.find(entry.name)  # which refuses a wrong file that stands before the cache
    try:
        if entry.hub:
            return _from_hub(entry)
        if entry.pack:
            return _from_pack(entry, told)
        return download(entry.url, weights.fetched_file(entry), str(entry.copy_sha256 or entry.sha256), told=told)
    except StorageError as error:
        raise WeightsError(f"{entry.name}: {error}\nWeights are kept in {weights.cache()}: let it be written to, or "
                           "name another folder first in $ANCHORFACE_WEIGHTS") from error
    except DataError as error:
        raise WeightsError(f"{entry.name}: {error}") from error


def proposed(purpose: str, commercial: bool, gpu_gib: float) -> tuple[Weight, ...]:
    """What this machine lacks for a purpose and can fetch.

    Args:
        purpose: `curate`, `train` or `evaluate`. commercial: only what may be used commercially. gpu_gib: memory of the
            largest GPU, 0 without one.
    """
    sets = {"train": ("klein",) if gpu_gib >= KLEIN_GIB else ()}.get(purpose, (purpose,))
    names = [name for each in sets for name in SETS[each]]
    return tuple(entry for entry in map(weights.weight, names)
                 if (entry.commercial or not commercial) and not weights.present(entry.name))


def _fetchable(name: str) -> Weight:
    entry = weights.weight(name)
    if entry.is_fetched:
        return entry
    where = weights.cache() / entry.file
    if entry.url_hint.startswith("carried"):
        raise WeightsError(f"{name} is {entry.url_hint}: nothing is to be fetched")
    if entry.url_hint.startswith("made by"):
        raise WeightsError(f"{name} is {entry.url_hint}, from weights that can be fetched: run that")
    if entry.package:
        raise WeightsError(f"{name} comes with {entry.url_hint}: install that with pip")
    raise WeightsError(f"{name} cannot be fetched: no address is known that gives the same bytes for good, or no hash "
                       f"of them. It is published at {entry.url_hint} ({entry.licence}): download it there with a "
                       f"browser and put it to {where}")


def _from_hub(entry: Weight) -> Path:
    """Into the model hub's cache, by its client, which goes on where it was cut off."""
    from huggingface_hub import constants, snapshot_download

    try:
        make_folder(constants.HF_HUB_CACHE)
        require_writable(f"{constants.HF_HUB_CACHE}/{entry.name}")
    except StorageError as error:
        raise WeightsError(f"{entry.name}: {error}. Name a folder that can be written in $HF_HOME") from error
    try:
        whole = snapshot_download(entry.hub, revision=entry.revision,
                                  allow_patterns=[f"{entry.part}*{end}" for end in (".safetensors", ".json", ".txt")])
    except (OSError, ValueError) as error:
        raise WeightsError(f"{entry.name}: cannot be downloaded from {entry.hub}: {str(error).splitlines()[0]}. What "
                           "came is kept in the hub's cache ($HF_HOME): the same command goes on") from error
    return Path(whole) / entry.part


def _from_pack(entry: Weight, told: Told) -> Path:
    """The whole pack: the members of the table are taken out of its archive, which is then deleted."""
    archive = download(_pack_address(entry.pack), weights.fetched_file(entry), PACKS[entry.pack], told=told)
    try:
        with zipfile.ZipFile(archive) as pack:
            for each in (other for other in weights.WEIGHTS if other.pack == entry.pack):
                _take_out(pack, each)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{archive}: not the pack {entry.pack}: {error}") from error
    archive.unlink()
    return weights.find(entry.name)


def _take_out(pack: zipfile.ZipFile, entry: Weight) -> None:
    """One member, wherever it stands in the archive, to its own place; under no name that the archive says."""
    file = Path(entry.file).name
    member = next((each for each in pack.infolist() if each.filename.rpartition("/")[2] == file), None)
    if member is None or member.file_size > LARGEST:
        raise KeyError(f"no {file} in it")
    target = weights.cache() / entry.file
    with pack.open(member) as source, writing(str(target)) as out:
        while chunk := source.read(2**20):
            out.write(chunk)
    if sha256(target) != entry.sha256:
        target.unlink()
        raise DataError(f"{file} in the archive of {entry.pack} is not the file of the table")


def _pack_address(pack: str) -> str:
    try:
        from insightface.utils.storage import model_zoo_download_url
    except ImportError as error:
        raise WeightsError(f"{pack} is fetched by the names of insightface's own package: `pip install "
                           f"'anchorface[insightface]'` first ({error})") from error
    return str(model_zoo_download_url(f"{pack}.zip"))
