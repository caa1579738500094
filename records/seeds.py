"""Randomness as an argument: every draw is a function of (seed, purpose, position)."""

import hashlib

import numpy as np


def derive(seed: int, purpose: str, position: int = 0) -> int:
    """A 63-bit seed for (seed, purpose, position), for libraries that take an integer (torch, say)."""
    text = f"{seed}/{purpose}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def rng(seed: int, purpose: str, position: int = 0) -> np.random.Generator:
    """A generator that depends on nothing but its arguments.

    Args:
        seed: the run's or the corpus's seed.
        purpose: what the numbers are for, for example `"degradation"`; other purposes draw other numbers.
        position: samples since the start of the run, or the row's number.

    Returns:
        A NumPy generator (PCG64): the same arguments give the same stream on any machine.
    """
    return np.random.Generator(np.random.PCG64(derive(seed, purpose, position)))
