"""Compiled counter-based random numbers (splitmix64): the n-th word of a stream depends only on the
seed and n.

Two simulations that draw different numbers of words for one request therefore still use the same
words for all other requests.
"""

from __future__ import annotations

import numpy as np

from app.planning.simulation.compiled import inlined

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST_MULTIPLIER, _SECOND_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11), np.uint64(32)
_LOW_MASK = np.uint64(0xFFFFFFFF)


def get_child_seed(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """Return the child seed with the given number. The result is the same as from `seed.spawn`, but
    the state of `seed` does not change."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))


@inlined
def draw_word(stream: np.uint64, number: int) -> np.uint64:
    word = stream + np.uint64(number) * _GOLDEN_GAMMA
    word = (word ^ (word >> _30)) * _FIRST_MULTIPLIER
    word = (word ^ (word >> _27)) * _SECOND_MULTIPLIER
    return word ^ (word >> _31)


@inlined
def convert_to_unit_interval(word: np.uint64) -> float:
    """Convert a random word to a floating-point number in [0, 1)."""
    return float(np.float64(word >> _11) * 1.1102230246251565e-16)


@inlined
def draw_from_high_bits(word: np.uint64, bound: int) -> int:
    """Return a random integer in [0, bound) from the upper half of the word. The result is
    independent of `draw_from_low_bits`."""
    return int(np.int64(((word >> _32) * np.uint64(bound)) >> _32))


@inlined
def draw_from_low_bits(word: np.uint64, bound: int) -> int:
    """Return a random integer in [0, bound) from the lower half of the word. The result is
    independent of `draw_from_high_bits`."""
    return int(np.int64(((word & _LOW_MASK) * np.uint64(bound)) >> _32))
