from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.random_words import (
    convert_to_unit_interval,
    draw_from_high_bits,
    draw_from_low_bits,
    draw_word,
    get_child_seed,
)

STREAM = np.uint64(12_345)


def test_random_words_are_uniform_with_independent_halves() -> None:
    words = [np.uint64(draw_word(STREAM, number)) for number in range(20_000)]
    shares = np.array([convert_to_unit_interval(word) for word in words])
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(1 / 12, rel=0.03)
    assert abs(np.corrcoef(shares[:-1], shares[1:])[0, 1]) < 0.03
    table = np.zeros((4, 3))
    for word in words:
        table[draw_from_high_bits(word, 4), draw_from_low_bits(word, 3)] += 1
    assert np.abs(table - 20_000 / 12).max() < 4 * np.sqrt(20_000 / 12)


def test_child_seed_is_reproducible_and_equals_a_spawned_seed() -> None:
    seed = np.random.SeedSequence(7)
    states = [get_child_seed(seed, 1).generate_state(2).tolist() for _ in range(2)]
    assert states[0] == states[1] == np.random.SeedSequence(7).spawn(2)[1].generate_state(2).tolist()
