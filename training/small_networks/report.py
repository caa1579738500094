"""From a recipe to files: read the data, train, measure on held-out persons, write weights and model card."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import distributed, nn

from anchorface.faces.adaface import AdaFaceNet
from anchorface.models.pixels import tensor_to_levels
from anchorface.models.weights import load, tiny_autoencoder
from anchorface.training.small_networks import (
    autoencoder,
    base,
    composites,
    distil,
    embedder,
    face_encoder,
    measure,
    teachers,
)
from anchorface.training.small_networks.card import save_network, write_card
from anchorface.training.small_networks.corpus import (
    ADAFACE_IDENTITIES,
    HELD_OUT_IDENTITIES,
    JUDGE_IDENTITIES,
    read_corpus,
)
from anchorface.training.small_networks.people import Faces, read_people, split
from anchorface.training.small_networks.run import Machine, place
from anchorface.training.small_networks.variety import Inventor

FILES = {"autoencoder": "autoencoder_tiny", "adaface": "adaface_small", "judge": "judge_small",
         "face_encoder": "face_encoder_small", "base": "base_tiny"}
STATES = {**FILES, **{name: name for name in ("autoencoder", "face_encoder", "base")}}
EVERYBODY = (ADAFACE_IDENTITIES[0], JUDGE_IDENTITIES[1])


def train_and_save(network: str, recipe: Any, options: Namespace) -> None:
    """Do it all for one network.

    Args:
        network: `autoencoder`, `adaface`, `judge`, `face_encoder` or `base`, which needs the autoencoder's file.
        options: corpus, photos, work, weights (folders), part and parts (of the base's pool), device, makers.
    """
    learn, kept = split(read_people(options.photos))
    shown, machine = recipe, Machine(device=options.device, makers=options.makers)
    if options.report_only:
        recipe = replace(recipe, budget=replace(recipe.budget, steps=1))
    if network == "judge":
        trained: nn.Module = embedder.train(recipe, read_corpus(options.corpus, recipe.identities), options.work,
                                            machine)
    elif network == "adaface":
        pictures = teachers.read_pictures(options.work / "pictures", recipe.pictures, recipe.variety)
        trained = distil.train(recipe, pictures, read_corpus(options.corpus, recipe.identities), options.work,
                                machine)
    elif network == "autoencoder":
        trained = autoencoder.train(recipe, read_corpus(options.corpus, EVERYBODY), learn, options.work, machine)
    elif network == "face_encoder":
        trained = face_encoder.train(recipe, read_corpus(options.corpus, ADAFACE_IDENTITIES), learn, options.work,
                                     machine)
    else:
        trained = _base(recipe, learn, kept, options, machine)
    if place()[0] == 0:
        save(network, trained, shown, kept, options)


def save(network: str, trained: nn.Module, recipe: Any, kept: Faces, options: Namespace) -> None:
    """Measure on held-out persons, write weights and card, and a sheet of pictures into the work folder."""
    unseen = read_corpus(options.corpus, HELD_OUT_IDENTITIES)
    if network in ("adaface", "judge"):
        numbers = measure.embedder_numbers(trained, unseen, kept)  # type: ignore[arg-type]
    elif network == "face_encoder":
        numbers = measure.face_encoder_numbers(trained, unseen, kept)  # type: ignore[arg-type]
    elif network == "autoencoder":
        numbers = measure.autoencoder_numbers(trained, unseen, kept)  # type: ignore[arg-type]
        images = autoencoder.middle(autoencoder.at_scale(np.concatenate([kept.images[::16], unseen.images[::50]])))
        decoded = tensor_to_levels(autoencoder.reconstruct(trained, images))  # type: ignore[arg-type]
        _sheet(options.work / "autoencoder.png", [images, decoded])
    else:
        codec = tiny_autoencoder(options.weights / "autoencoder_tiny.safetensors")
        numbers = measure.base_numbers(trained, codec, judges(options.weights), unseen, kept)
        numbers |= measure.seam_numbers(trained, codec, unseen, kept)
        for name, faces in (("real", kept), ("synthetic", unseen)):
            _sheet(options.work / f"base_{name}.png", measure.base_pictures(trained, codec, faces))
    text = TEXTS[network]
    save_network(options.weights, FILES[network], trained, recipe, text["data"], numbers)
    write_card(options.weights, FILES[network], numbers=numbers, photographs=network != "judge",
               how=f"`python -m anchorface.training.small_networks {network} --corpus <folder>`: "
                   f"{_spent(network, options.work)}. "
                   f"Recipe:\n\n```\n{recipe}\n```", **text)
    print(f"{FILES[network]} saved  {numbers}", flush=True)


def make_pictures(recipe: distil.DistilRecipe, options: Namespace) -> None:
    """Draw the recipe's pictures and let the teachers look at them; what is there stays.

    Args:
        options: photos, work (folders), dlib (the first teacher's file), device, part and parts (of the blocks).

    Raises:
        WeightsError: a teacher's file is missing or another one.
    """
    look = teachers.Teachers(options.dlib, options.device).codes
    inventor = Inventor(split(read_people(options.photos))[0], recipe.variety)
    blocks = range(options.part, recipe.pictures // teachers.BLOCK, options.parts)
    for block in blocks:
        teachers.make_block(inventor, look, options.work / "pictures", block)
        print(f"pictures  block {block} of {blocks.stop}", flush=True)


def judges(weights: Path) -> dict[str, AdaFaceNet]:
    """The carried embedders that are there."""
    found = {}
    for name, architecture in (("judge_small", "judge"), ("adaface_small", "small")):
        path = weights / f"{name}.safetensors"
        if path.is_file():
            network = AdaFaceNet(architecture)
            network.load(load(path)[0], str(path))
            found[name] = network.eval()
    return found


def _base(recipe: base.BaseRecipe, learn: Faces, kept: Faces, options: Namespace, machine: Machine) -> nn.Module:
    codec = tiny_autoencoder(options.weights / "autoencoder_tiny.safetensors").to(options.device)
    pool = base.pool_folder(recipe, options.work)
    invented = base.apart(composites.invent(learn, recipe.invented, recipe.seed))
    views = base.fill_pool(recipe, (read_corpus(options.corpus, EVERYBODY), learn, invented), codec, pool,
                           options.part, options.parts)
    if options.pool_only:
        raise SystemExit(0)
    if distributed.is_initialized():
        distributed.barrier()
    return base.train(recipe, base.read_pool(views, pool), options.work,
                      each=lambda average: save("base", average, recipe, kept, options), machine=machine)


def _spent(network: str, work: Path) -> str:
    state = torch.load(work / f"{STATES[network]}.state.pt", weights_only=True, mmap=True)
    return f"{state['step']:,} steps in {state['spent'] / 60:.0f} minutes on {state['machine']}"


def _sheet(path: Path, rows: list[np.ndarray], columns: int = 12) -> None:
    """Write a picture: one row per list entry, its first images side by side."""
    picture = np.vstack([np.hstack(list(row[:columns])) for row in rows])
    cv2.imwrite(str(path), picture[..., ::-1])


_HELD_OUT = ("Kept away from training: every real person whose label's SHA-256 is 0 modulo 4 (74 of 290 persons), and "
             "the synthetic identities 840 to 919 of corpus seed 20261121. ")

TEXTS: dict[str, dict[str, str]] = {
    "adaface": {
        "title": "adaface_small",
        "what": "A face embedder of 2.4 million parameters: 112 px crop (BGR, -1..1) to 256 numbers (`faces.adaface`, "
                "architecture `small`), distilled from dlib's face recognition network (public domain) and "
                "`mobileface_mit_112` (MIT), and finished with the AdaFace loss. The length of its feature follows the "
                "picture's quality.",
        "data": _HELD_OUT + "Used: synthetic identities 0 to 599, six photographs each; both pictures of the other "
                "216 real persons, and 40,000 pictures of persons invented from them by joining parts, changing "
                "shapes, turning heads and light (`training/small_networks/variety.py`), which both teachers looked "
                "at. The teachers' weights are no part of it.",
        "notes": "AUC london: neutral against smiling; congress: portraits about ten years apart, the early one grey "
                 "and small; synthetic: all pairs, ages and poses mixed. found: share of same-person pairs above the "
                 "cosine that one in a thousand other-person pairs reaches. Cosines are means over same-person and "
                 "other-person pairs. Norms: mean length on clean and on damaged crops; norm follows quality: rank "
                 "correlation of the length with the cosine to the clean face, over clean and damaged crops.",
        "limits": "Few real persons were at hand, all frontal, from two collections, most of the older ones male; "
                  "other faces are changes of theirs. For real work name an official AdaFace checkpoint.",
    },
    "judge": {
        "title": "judge_small",
        "what": "A second, independent face embedder of 0.57 million parameters (`faces.adaface`, architecture "
                "`judge`): 112 px crop to 128 numbers. It judges restorations of synthetic faces and is never used in "
                "an anchor or a loss.",
        "data": _HELD_OUT + "Used: synthetic identities 600 to 839 only, six photographs each: no person in common "
                "with adaface_small, and no real one. It was shown sharp pictures only (no low resolution, blur or "
                "damage), so that it asks for detail, as public recognition networks do.",
        "notes": "AUC on real persons is given for information: it has never seen one. Photographs are judged by a "
                 "public network instead.",
        "limits": "For synthetic faces only.",
    },
    "face_encoder": {
        "title": "face_encoder_small",
        "what": "A face-image encoder of 0.90 million parameters (`faces.face_encoder`, CLIP's vision layout): 128 px "
                "FFHQ crop to a class token and 64 patch tokens of 128 numbers. The embedded default's stand-in for "
                "FaRL in RG-IPFR's composite context.",
        "data": _HELD_OUT + "Used: synthetic identities 0 to 599, six photographs each, and both pictures of the "
                "other 216 real persons; no labels.",
        "notes": "Each is a ridge regression or a mean over tokens, learned from one half of the held-out persons and "
                 "measured on the other. Pixels explained: the share of a patch's variance within faces that its token "
                 "gives back in a linear way. Yaw: mean error in degrees, by mean tokens of the columns of patches, "
                 "and that of guessing the mean. AUC: persons told apart by the mean token's cosine, without any "
                 "training for it.",
        "limits": "It was never told who anybody is, and saw few real persons, all nearly frontal. It says what a face "
                  "looks like, at 128 px; for real work name FaRL's weights.",
    },
    "autoencoder": {
        "title": "autoencoder_tiny",
        "what": "A tiny `AutoencoderKLFlux2` of 1.37 million parameters: 128 px image to 64 tokens of 128 numbers "
                "(stride 16, as FLUX.2) and back, with whitening statistics.",
        "data": _HELD_OUT + "Used: synthetic identities 0 to 839 and the other 216 real persons.",
        "notes": "PSNR of reconstructions at 128 px. It starts as the principal components of 8x8 px patches and "
                 "learns from there (`training/small_networks/linear_start.py`). For comparison: a linear code of "
                 "16x16 px patches (128 principal components, fitted to the same training photographs) gives 38.6 dB "
                 "on the held-out real faces and 38.4 dB on synthetic ones.",
        "limits": "Faces at about 128 px. Very fine texture is smoothed.",
    },
    "base": {
        "title": "base_tiny",
        "what": "A tiny face restorer: the bare FLUX.2 transformer at width 192 (4.6 million parameters) on the tokens "
                "[noisy scene; degraded image; 0 to 3 other pictures of the person] with one fixed prompt, trained by "
                "flow matching alone: as FLUX.2-klein-base, it knows pictures in its context. IConFace freezes it and "
                "adds its adapters and anchors.",
        "data": _HELD_OUT + "Used: synthetic identities 0 to 839 and the other 216 real persons, damaged by the "
                "first-order profiles of `degradation/`, severe ones most.",
        "notes": "Held-out faces under refldm-severe at 128 px: PSNR to the truth (dB) and the named network's cosine "
                 "to the truth, of the degraded input, of a 12-step sample without and with other pictures of the "
                 "person (3, or 1 for real persons, who have no more), and of the one-step mean estimate without. "
                 "Seams: mean step between neighbouring pixels across the 16 px tokens' borders over the mean step "
                 "elsewhere.",
        "limits": "Faces are recognisably faces; the mean estimate is blurred. Real persons had one other photograph "
                  "each at most. It has no idea who anybody is: nothing but flow matching taught it to look at the "
                  "other pictures. 128 px, near-frontal faces where they are real.",
    },
}
