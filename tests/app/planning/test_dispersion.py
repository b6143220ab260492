from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.planning.dispersion import (
    Modulation,
    modulation_of,
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
    at_s = modulated(modulation, 20.0, 500_000, seed=1)
    assert counts_index(at_s, 60.0, 500_000) == pytest.approx(8.0, rel=0.1)
    assert counts_index(at_s, 300.0, 500_000 // 300 * 300) == pytest.approx(8.0, rel=0.15)


@pytest.mark.parametrize("index", [0.5, 1.0])
def test_poissons_needs_no_modulation(index: float) -> None:
    assert modulation_of(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(index))) is None


def test_a_cache_thins_the_index_and_not_the_modulation() -> None:
    said = Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0), cache_share=0.5)
    assert modulation_of(said) == modulation_of(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0)))
    modulation = Modulation(5.0, 60.0)
    at_s = modulated(modulation, 20.0, 300_000, seed=2)
    kept = at_s[np.random.default_rng(3).random(at_s.size) < 0.5]
    assert counts_index(kept, 60.0, 300_000) == pytest.approx(1 + 10.0 * 60.0 / 5.0, rel=0.1)
