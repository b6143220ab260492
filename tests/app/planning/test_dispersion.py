from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from app.planning.dispersion import (
    Modulation,
    hayward_slots,
    index_of,
    modulation_of,
    peakedness_of,
    unlimited_slots,
)
from app.records.traffic import Dispersion, Traffic

FLAT = (1.0,) * 24


def modulated(modulation: Modulation, rate_per_s: float, span_s: float, seed: int) -> npt.NDArray[np.float64]:
    dice = np.random.default_rng(seed)
    windows = round(span_s / modulation.window_s)
    factors = dice.gamma(modulation.shape, 1 / modulation.shape, windows)
    counts = dice.poisson(rate_per_s * modulation.window_s * factors)
    starts = np.repeat(np.arange(windows) * modulation.window_s, counts)
    return np.sort(starts + dice.uniform(0, modulation.window_s, counts.sum()))


def counts_index(at_s: npt.NDArray[np.float64], window_s: float, span_s: float) -> float:
    counts = np.bincount((at_s // window_s).astype(int), minlength=round(span_s / window_s))
    return float(counts.var(ddof=1) / counts.mean())


def test_a_said_index_is_the_one_that_the_modulation_gives() -> None:
    traffic = Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0, 60.0))
    modulation = modulation_of(traffic)
    assert modulation == Modulation(20.0 * 60.0 / 7.0, 60.0)
    assert index_of(modulation, 20.0) == pytest.approx(8.0)
    assert index_of(modulation, 10.0) == pytest.approx(4.5)
    at_s = modulated(modulation, 20.0, 500_000, seed=1)
    assert counts_index(at_s, 60.0, 500_000) == pytest.approx(8.0, rel=0.1)
    assert counts_index(at_s, 300.0, 500_000 // 300 * 300) == pytest.approx(8.0, rel=0.15)


@pytest.mark.parametrize("index", [0.5, 1.0])
def test_poissons_needs_no_modulation(index: float) -> None:
    assert modulation_of(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(index))) is None
    assert index_of(None, 20.0) == 1.0
    assert peakedness_of(None, 20.0, 0.1) == 1.0


def test_a_cache_thins_the_index_and_not_the_modulation() -> None:
    said = Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0), cache_share=0.5)
    assert modulation_of(said) == modulation_of(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0)))
    modulation = Modulation(5.0, 60.0)
    at_s = modulated(modulation, 20.0, 300_000, seed=2)
    kept = at_s[np.random.default_rng(3).random(at_s.size) < 0.5]
    assert counts_index(kept, 60.0, 300_000) == pytest.approx(index_of(modulation, 10.0), rel=0.1)


@pytest.mark.parametrize("mean_s", [0.5, 10.0, 100.0])
def test_peakedness_is_that_of_servers_without_limit(mean_s: float) -> None:
    """Var/mean of the number in work, at moments away from the start, with exponential times."""
    modulation, rate_per_s, span_s = Modulation(4.0, 10.0), 8.0, 400_000.0
    at_s = modulated(modulation, rate_per_s, span_s, seed=4)
    leave_s = np.sort(at_s + np.random.default_rng(5).exponential(mean_s, at_s.size))
    moments = np.random.default_rng(6).uniform(20 * mean_s, span_s, 200_000)
    in_work = np.searchsorted(at_s, moments) - np.searchsorted(leave_s, moments)
    assert peakedness_of(modulation, rate_per_s, mean_s) == pytest.approx(in_work.var() / in_work.mean(), rel=0.06)


def test_peakedness_at_its_ends() -> None:
    modulation = Modulation(2.0, 60.0)
    assert peakedness_of(modulation, 10.0, 1e-6) == pytest.approx(1.0, abs=1e-4)
    long_s = 1e6
    assert peakedness_of(modulation, 10.0, long_s) == pytest.approx(1 + (index_of(modulation, 10.0) - 1) / 2, rel=1e-3)
    assert peakedness_of(modulation, 10.0, 0.0) == 1.0


def test_hayward_by_hand() -> None:
    # 100 erlangs, peakedness 4: 100 + 2.3263 × 20
    assert hayward_slots(50.0, 2.0, 4.0) == 147
    assert hayward_slots(50.0, 2.0, 1.0, 0.5) == 100
    assert hayward_slots(0.0, 2.0, 1.0) == 1


def test_slots_without_limit_by_hand() -> None:
    at_s = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert unlimited_slots(at_s, 0.5, 1.0) == 1
    assert unlimited_slots(at_s, 1.0, 1.0) == 1  # one that leaves when another comes has left
    assert unlimited_slots(at_s, 2.5, 1.0) == 3
    assert unlimited_slots(at_s, 100.0, 1.0) == 5
    assert unlimited_slots(at_s, 100.0, 0.2) == 1
    assert unlimited_slots(at_s, np.array([100.0, 0.1, 0.1, 0.1, 0.1]), 1.0) == 2
    assert unlimited_slots(np.zeros(0), 1.0) == 1


def test_slots_without_limit_meet_poissons_quantile() -> None:
    """Servers without limit hold a Poisson number of this mean, and arrivals see it."""
    dice = np.random.default_rng(7)
    at_s = np.cumsum(dice.exponential(1 / 50.0, 400_000))
    slots = unlimited_slots(at_s, dice.exponential(0.4, at_s.size), 0.99)
    held, chance, below = 0, math.exp(-20.0), 0.0
    while below + chance < 0.99:
        below += chance
        held += 1
        chance *= 20.0 / held
    assert abs(slots - (held + 1)) <= 1
