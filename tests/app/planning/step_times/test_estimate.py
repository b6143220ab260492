"""The model of step times on a part of the bundled points: what it predicts, and how it states what it does not
know."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from app.analysis.published_points import load_published_points
from app.planning.step_times.estimate import FittedEvidence, fit_evidence
from app.planning.step_times.intervals import Z_LEVEL, HeldOutErrors, fit_error_model, label_groups
from app.planning.step_times.model import ClosedLoops, select
from app.planning.step_times.published import PublishedLoops, find_curve, find_kv_dtype
from tests.studies.published_folds import build_loops, take


@cache
def load_part() -> PublishedLoops:
    points = load_published_points()
    selected = [point for point in points if point.served.model in ("llama-3.1-70b", "gpt-oss-120b", "minimax-m2")]
    return build_loops(selected[::4])


@cache
def fit_part() -> FittedEvidence:
    return fit_evidence(load_part())


def change(loops: ClosedLoops, **columns: str) -> ClosedLoops:
    table = loops.servers
    changed = {name: [value] * len(loops.clients) for name, value in columns.items()}
    return dataclasses.replace(loops, servers=dataclasses.replace(table, columns={**table.columns, **changed}))


def test_fitted_points_are_predicted_within_8_percent_tpot_and_25_percent_ttft() -> None:
    part, predicted = load_part(), fit_part().model.predict(load_part().loops)
    assert np.median(np.abs(predicted["tpot"] / part.tpot_s - 1)) < 0.08
    assert np.median(np.abs(predicted["ttft"] / part.ttft_s - 1)) < 0.25


def test_held_out_gpu_type_is_predicted_within_20_percent() -> None:
    part = load_part()
    is_h200 = np.array(part.loops.servers.columns["gpu"]) == "h200-sxm-141gb"
    evidence = fit_evidence(take(part, np.flatnonzero(~is_h200)), ("combination",))
    predicted = evidence.model.predict(select(part.loops, np.flatnonzero(is_h200)))["tpot"]
    assert np.median(np.abs(predicted / part.tpot_s[is_h200] - 1)) < 0.20


def test_tpot_is_increasing_and_concave_in_the_number_of_clients() -> None:
    loops = select(load_part().loops, np.zeros(4, dtype=np.intp))
    loops = dataclasses.replace(
        loops,
        clients=np.array([1.0, 8.0, 64.0, 128.0]),
        input_tokens=np.full(4, 128.0),
        output_tokens=np.full(4, 128.0),
    )
    tpot = fit_part().model.predict(loops)["tpot"]
    assert np.all(np.diff(tpot) > 0)
    assert (tpot[3] - tpot[2]) / 64 < (tpot[1] - tpot[0]) / 7


@pytest.mark.parametrize(
    ("columns", "novelties"),
    [
        ({}, ("combination",)),
        ({"gpu": "a GPU"}, ("gpu",)),
        ({"gpu": "a GPU", "generation": "a generation"}, ("gpu", "generation")),
        ({"model": "a model", "gpu": "a GPU"}, ("model", "gpu")),
    ],
)
def test_novelties_of_a_server_select_its_error_model(columns: dict[str, str], novelties: tuple[str, ...]) -> None:
    loops = change(select(load_part().loops, np.zeros(1, dtype=np.intp)), **columns)
    assert fit_part().find_novelties(loops) == [novelties]


def test_server_with_two_novelties_has_the_wider_interval() -> None:
    loops = select(load_part().loops, np.zeros(1, dtype=np.intp))

    def compute_width(**columns: str) -> float:
        estimate = fit_part().estimate(change(loops, **columns))
        return float(estimate.p90["tpot"][0] / estimate.p10["tpot"][0])

    both = compute_width(model="a model", gpu="a GPU")
    assert both >= max(compute_width(model="a model"), compute_width(gpu="a GPU")) > 1


def test_interval_of_an_unmeasured_gpu_generation_is_twice_as_wide() -> None:
    part = load_part()
    is_blackwell = np.array(part.loops.servers.columns["generation"]) == "Blackwell"
    evidence = fit_evidence(take(part, np.flatnonzero(is_blackwell)), ("combination", "generation"))
    known, unknown = (evidence.errors[novelty]["tpot"] for novelty in ("combination", "generation"))
    assert unknown.above - unknown.below == pytest.approx(2 * (known.above - known.below))


def test_intervals_cover_errors_of_the_same_distribution() -> None:
    loops = load_part().loops
    errors = np.random.default_rng(1).normal(0.1, 0.2, len(loops.clients))
    groups = label_groups(loops, "gpu")
    held_out = HeldOutErrors({"tpot": errors, "ttft": errors}, groups, np.ones(len(errors)))
    low, high = fit_error_model(loops, held_out, "tpot").compute_quantiles(loops)
    assert np.mean((errors >= low) & (errors <= high)) == pytest.approx(0.8, abs=0.06)


def test_interval_has_the_differences_between_groups() -> None:
    loops = load_part().loops
    groups = label_groups(loops, "model")
    inside = np.random.default_rng(1).normal(0, 0.05, len(groups))
    between = np.array([{"llama-3.1-70b": -0.3, "gpt-oss-120b": 0.0, "minimax-m2": 0.3}[group] for group in groups])
    widths = []
    for errors in (inside, inside + between):
        held_out = HeldOutErrors({"tpot": errors, "ttft": errors}, groups, np.ones(len(errors)))
        low, high = fit_error_model(loops, held_out, "tpot").compute_quantiles(loops)
        widths.append(float(np.median(high - low)))
    assert widths[0] == pytest.approx(2 * Z_LEVEL * 0.05, rel=0.2)
    assert widths[1] > 0.6  # from the lowest group to the highest


def test_points_of_a_curve_differ_only_in_clients_and_kv_dtype_follows_the_recipe() -> None:
    points = load_published_points()
    assert len({find_curve(point) for point in points}) < 0.5 * len(points)
    by_dtype = {find_kv_dtype(point): point for point in points}
    assert by_dtype.keys() == {"fp8", "bf16"}
