"""The hundred service models of the study are distinct, can be simulated, and are drawn as documented."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from tests.studies.event_simulator import Replica, simulate
from tests.studies.laws import FIXED_LAWS, FIXED_MECHANISMS, LAWS, REDRAWN_LAWS, SETTINGS_EACH, Law, draw_law


def settings_of(number: int, seed: int) -> str:
    law = draw_law(number, seed)
    return repr(
        (law.name, law.mean_s, law.cv, law.workers, law.layout, [str(influence) for influence in law.influences])
    )


def test_fixed_laws_have_two_settings_per_mechanism_for_any_seed() -> None:
    names = [draw_law(number, 1).name for number in range(FIXED_LAWS)]
    assert len(set(names)) == len(FIXED_MECHANISMS) == FIXED_LAWS // SETTINGS_EACH
    for number in range(0, FIXED_LAWS, 7):
        assert draw_law(number, 1).mean_s == draw_law(number, 2).mean_s
    assert len({draw_law(number, 1).mean_s for number in range(FIXED_LAWS)}) == FIXED_LAWS


def test_other_laws_depend_on_seed_and_last_laws_combine_two_mechanisms() -> None:
    for number in range(FIXED_LAWS, LAWS):
        assert settings_of(number, 1) != settings_of(number, 2)
        assert len(draw_law(number, 1).mechanisms) == (2 if number >= FIXED_LAWS + REDRAWN_LAWS else 1)


@pytest.mark.parametrize("first", range(0, LAWS, 20))
def test_latencies_of_laws_are_finite_and_not_negative(first: int) -> None:
    for number in range(first, first + 20, 3):
        law, seeds = draw_law(number, 3), itertools.count(1)
        rng = np.random.default_rng(number)
        works_s = law.draw_works_s(300, rng)
        arrivals_s = np.cumsum(rng.exponential(3 * law.pace_s, 300))

        def new_replica(law: Law = law, seeds: Iterator[int] = seeds) -> Replica:
            return law.new_replica(next(seeds))

        latencies_s = np.array(simulate(arrivals_s.tolist(), works_s.tolist(), new_replica, 2))
        assert np.isfinite(latencies_s).all()
        assert (latencies_s >= 0).all()
