"""A run's held-out samples: of split `val`, whose persons training never sees, made as the feed makes its own."""

from dataclasses import replace

from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.training.recipes import Recipe


def held_out_feed(recipe: Recipe, dataset_uri: str, batch: int,
                  shares: tuple[float, ...] = ()) -> tuple[Feed, bool]:
    """The feed of split `val`, nobody left out, nothing mirrored and all as it was photographed.

    Args:
        batch: samples that have equally many references. shares: of 0, 1, 2, ... references; empty: the recipe's.

    Returns:
        The feed, and whether it is held out: where `val` is empty it is of the training split.
    """
    settings = replace(recipe.fed, dataset=dataset_uri, batch=batch, flip=False, appearance="",
                       reference_count_probabilities=shares or recipe.feed.reference_count_probabilities)
    dataset = open_dataset(dataset_uri)
    if len(dataset.split_rows("val")):
        return Feed(dataset, replace(settings, split="val", identities=None)), True
    return Feed(dataset, settings), False
