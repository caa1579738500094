"""Who is it? Probabilities against the truth, on real photographs that the index has not seen.

    python benchmarks/recognition.py [--photos ../shared/data/photos] [--network mobilefacenet_y1_ms1m_112] [--splits 5]

Half of the persons of `people` and `congress` are in the index, with all but one of their photographs; that one is
looked for, and one photograph of each other person. Clean, and degraded; for the degraded ones also with a calibration
on the index's own faces degraded alike. Per row: probes; how many of the persons who are here are found (the likeliest
is the right one, probability at least one half), strangers taken for somebody (at least one half); the expected
calibration error over ten bins; said against true probability in five bins; and the share of strangers whose stated
false match rate is at most 1, 5, 10 and 50 % (which should be those shares).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.faces.embed import embedder
from tests.identity_index import album_search

PROFILES = ("gfpgan", "refldm-moderate", "refldm-severe")
RATES = (0.01, 0.05, 0.1, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data/photos")
    parser.add_argument("--network", default="mobilefacenet_y1_ms1m_112")
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    if not options.photos.exists():
        print(f"{options.photos}: no photographs here; name their folder with --photos")
        return
    network = embedder(options.network)
    faces = [face for folder in ("people", "congress") for face in album_search.portraits(options.photos, folder)]
    persons = np.array([face.person for face in faces])
    clean = album_search.embed(network, faces)
    print(f"{len(faces)} photographs of {len(np.unique(persons))} persons, {options.network}, {options.splits} splits")
    print(f"{'probes':<28}{'n':>6}{'found':>8}{'strangers':>11}{'ECE':>7}   said:true   "
          f"strangers at a rate of {', '.join(f'{rate:.0%}' for rate in RATES)}")
    for profile in ("", *PROFILES):
        probes = album_search.embed(network, album_search.degraded(faces, profile)) if profile else clean
        for adapted in (False, True) if profile else (False,):
            with tempfile.TemporaryDirectory() as folder:
                said = album_search.joined([
                    album_search.search(Path(folder), persons, clean, probes, seed, adapted=adapted)
                    for seed in range(options.splits)])
            sure = said.probability >= 0.5
            bins = " ".join(f"{a:.2f}:{b:.2f}({n})" for n, a, b in album_search.reliability(said))
            rates = " ".join(f"{np.mean(said.rate[~said.here] <= rate):.3f}" for rate in RATES)
            name = (profile or "clean") + (", adapted" if adapted else "")
            print(f"{name:<28}{len(sure):>6}{np.mean((sure & said.right)[said.here]):>8.3f}"
                  f"{np.mean(sure[~said.here]):>11.3f}{album_search.calibration_error(said):>7.3f}   {bins}   {rates}",
                  flush=True)


if __name__ == "__main__":
    main()
