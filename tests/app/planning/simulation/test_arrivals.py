from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.arrivals import iterate_poisson_arrivals, rank_normals, split_into_chunks, superpose_copies
from app.planning.simulation.compiled import Floats

SEED = np.random.SeedSequence(1)


def draw_arrivals(rates_per_s: list[float], bin_s: float, seed: int, shape: float | None = None) -> Floats:
    return np.concatenate(
        list(iterate_poisson_arrivals(np.array(rates_per_s), bin_s, np.random.SeedSequence(seed), shape))
    )


def test_arrivals_follow_the_rate_of_each_bin() -> None:
    rates = [100.0, 0.0, 2000.0, 5.0] * 50
    times_s = draw_arrivals(rates, 10.0, 2)
    assert (np.diff(times_s) >= 0).all()
    counts = np.histogram(times_s, bins=np.arange(201) * 10.0)[0].reshape(50, 4)
    assert counts[:, 1].sum() == 0
    for column, rate_per_s in ((0, 100.0), (2, 2000.0), (3, 5.0)):
        mean = rate_per_s * 10
        assert counts[:, column].mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / 50))
        assert counts[:, column].var(ddof=1) == pytest.approx(mean, rel=0.7)  # Poisson: variance = mean


def test_gaps_are_exponential_across_bins() -> None:
    gaps_s = np.diff(draw_arrivals([50.0] * 40_000, 0.013, 3))  # most gaps span bins
    assert gaps_s.mean() == pytest.approx(0.02, rel=0.05)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert np.quantile(gaps_s, share) == pytest.approx(-0.02 * np.log(1 - share), rel=0.12)


def test_modulated_arrivals_have_the_dispersion_of_their_shape() -> None:  # I(w) = 1 + λw/k
    times_s = draw_arrivals([20.0] * 6000, 30.0, 4, shape=4.0)
    counts = np.histogram(times_s, bins=np.arange(6001) * 30.0)[0]
    assert counts.mean() == pytest.approx(600, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(1 + 600 / 4, rel=0.08)


def test_arrivals_do_not_depend_on_chunk_size() -> None:
    one_chunk, small_chunks = (
        list(iterate_poisson_arrivals(np.full(50, 40.0), 1.0, SEED, chunk_size=size)) for size in (10**5, 7)
    )
    assert {chunk.size for chunk in small_chunks[:-1]} == {7}
    assert sum(chunk.size for chunk in small_chunks) == pytest.approx(2000, abs=200)
    np.testing.assert_array_equal(np.concatenate(small_chunks), one_chunk[0])


def test_arrivals_are_reproducible_by_seed() -> None:
    assert draw_arrivals([30.0] * 20, 1.0, 5).tobytes() == draw_arrivals([30.0] * 20, 1.0, 5).tobytes()
    assert draw_arrivals([30.0] * 20, 1.0, 5).tobytes() != draw_arrivals([30.0] * 20, 1.0, 6).tobytes()


def test_superposed_copies_of_a_trace_have_less_dispersion_than_a_faster_replay() -> None:
    dice = np.random.default_rng(6)
    bursts_s = np.sort(np.repeat(dice.uniform(0, 1000, 100), 20) + dice.uniform(0, 0.5, 2000))
    summed, rows = superpose_copies(bursts_s, 8, 1001.0, np.random.SeedSequence(7))
    assert np.bincount(rows).tolist() == [8] * bursts_s.size
    assert (np.diff(summed) >= 0).all()
    assert summed[-1] < 1001.0
    assert set(bursts_s.tolist()) <= set(summed.tolist())  # the first copy is as recorded

    def dispersion(times_s: Floats, span_s: float) -> float:
        counts = np.histogram(times_s, bins=np.arange(0, span_s, 0.1))[0]
        return float(counts.var() / counts.mean())

    assert dispersion(summed, 1001.0) < dispersion(bursts_s / 8, 126.0) / 2  # the trace replayed 8 times as fast


def test_additional_copy_of_a_trace_starts_at_its_offset_and_wraps_around() -> None:
    seed = np.random.SeedSequence(3)
    (_, offset_s) = np.random.default_rng(seed).uniform(0.0, 10.0, 2)
    times_s, rows = superpose_copies(np.array([0.0, 1.0, 4.0]), 2, 10.0, seed)
    expected = sorted(
        [(0.0, 0), (1.0, 1), (4.0, 2), *(((at_s + offset_s) % 10, row) for row, at_s in enumerate((0, 1, 4)))]
    )
    assert times_s.tolist() == pytest.approx([at_s for at_s, _ in expected])
    assert rows.tolist() == [row for _, row in expected]


def test_fraction_of_a_trace_is_a_random_sample_of_its_requests() -> None:
    times_s = np.arange(10_000.0)
    half, rows = superpose_copies(times_s, 0.5, 10_000.0, np.random.SeedSequence(1))
    assert half.size == pytest.approx(5000, abs=250)
    np.testing.assert_array_equal(half, rows)
    enlarged, _ = superpose_copies(times_s, 1.25, 10_000.0, np.random.SeedSequence(1))
    assert enlarged.size == pytest.approx(12_500, abs=250)


def test_trace_is_split_into_chunks() -> None:
    assert [chunk.tolist() for chunk in split_into_chunks(np.arange(5.0), 2)] == [[0, 1], [2, 3], [4]]


def test_normals_are_ranked_by_request_size_without_ties() -> None:
    sizes = np.array([5, 900, 5, 40] * 500)
    normals = rank_normals(sizes)
    assert normals[sizes == 5].max() < normals[sizes == 40].min() < normals[sizes == 900].min()
    assert np.unique(normals).size == sizes.size
    assert (normals.mean(), normals.std()) == pytest.approx((0.0, 1.0), abs=0.01)
