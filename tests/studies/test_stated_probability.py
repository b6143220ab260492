"""Evaluation, reading of plans and resumption of the study of stated probabilities."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.analysis.objectives import parse_objective
from app.session.spec import ResolvedStage
from loadgen.records import OpenArrivals, StageLoad
from tests.studies.measuring import HeldOut, SimulatedRequests, StageRunner, find_fewest, measure, plan, read_statement
from tests.studies.request_services import KNOWN_FAMILIES, draw_known_truth, find_saturation_per_s
from tests.studies.stated_probability import (
    Kind,
    Outcome,
    derive_seed,
    is_in_band,
    list_bounds,
    list_tables,
    main,
    read_state,
    resolve_commit,
)

NUMBERS = itertools.count()


def outcomes(
    count: int, kind: Kind = "token", stated: float | None = 0.95, met: int = 95, inside: int = 80
) -> list[Outcome]:
    """`met` and `inside` are percentages."""
    return [
        Outcome(
            "abc", kind, next(NUMBERS), "a law", stated=stated, planned=10, needed=9, is_met=index < met * count / 100,
            held_out=(HeldOut(0.5, "latency_ms", "p95", 1.0, 2.0, 1.5 if index < inside * count / 100 else 3.0),),
        )
        for index in range(count)
    ]  # fmt: skip


def list_failed_bounds(results: list[Outcome]) -> list[str]:
    return [bound.name for bound in list_bounds(results) if not bound.is_met]


def test_stated_probability_must_agree_with_share_of_met_slos() -> None:
    assert list_failed_bounds(outcomes(200)) == []
    assert list_failed_bounds(outcomes(200, met=80)) == [
        "token: met where P is stated",
        "all: met where P 0.95 to 0.99 is stated",
    ]
    assert len(list_failed_bounds(outcomes(200, stated=0.9, met=100))) == 2  # less certain than it could be
    assert list_failed_bounds(outcomes(8, stated=0.9, met=100)) == []  # eight of eight agree with 90 %


def test_intervals_with_too_much_or_too_little_coverage_fail() -> None:
    for inside, is_met in ((40, False), (80, True), (100, False)):
        assert (list_failed_bounds(outcomes(200, inside=inside)) == []) is is_met


def test_unknown_probability_is_limited_only_in_known_families() -> None:
    unknown = outcomes(60, stated=None)
    assert list_failed_bounds([*outcomes(140), *unknown]) == ["known families: not known"]
    assert list_failed_bounds([*outcomes(140), *outcomes(60, "law", stated=None)]) == []
    assert list_failed_bounds([*outcomes(90), *outcomes(110, stated=0.8, met=80)]) == ["known families: P ≥ 0.9"]


def test_product_error_fails_study_and_is_shown() -> None:
    results = [*outcomes(100), Outcome("abc", "law", 3, "a law", error="ValueError: math domain error")]
    assert list_failed_bounds(results) == ["law: stated 80 % intervals cover", "errors of the product"]
    assert "math domain error" in "\n".join(list_tables(results))


def test_tables_count_all_truths() -> None:
    results = [*outcomes(10), Outcome("abc", "law", 1, "a law", reason="no rate"), *outcomes(3, "known", stated=1.0)]
    text = "\n".join(list_tables(results))
    assert "| not known: no rate | 1 |  |  | 1 |  |" in text
    assert sum(is_in_band(outcome.stated, 0.99, 1.0) for outcome in results) == 3


@pytest.mark.process
def test_stopped_study_resumes_with_missing_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit = resolve_commit("HEAD")
    if commit is None:
        pytest.skip("the sources are not in a git repository")
    state = tmp_path / "state.jsonl"
    stored_outcomes = [
        Outcome(commit, "known", number, "gamma", stated=0.95, is_met=True, planned=3) for number in range(2)
    ]
    other = msgspec.structs.replace(stored_outcomes[0], commit="another")
    state.write_bytes(
        b"".join(msgspec.json.encode(outcome) + b"\n" for outcome in [*stored_outcomes, other]) + b'{"commit": "cut'
    )
    assert list(read_state(state, commit).values()) == stored_outcomes
    main(["--seeds-from", "HEAD", "--state", str(state), "--laws", "0", "--tokens", "0", "--known", "2"])
    assert "2 of 2" in capsys.readouterr().out


@pytest.mark.process
def test_unknown_commit_is_refused(tmp_path: Path) -> None:
    assert main(["--seeds-from", "no-such-commit", "--state", str(tmp_path / "state")]) == 2
    assert derive_seed("abc", "law") != derive_seed("abc", "token")


@pytest.mark.parametrize("needed", [1, 4, 9, 30])
def test_fewest_sufficient_replicas_are_computed(needed: int) -> None:
    assert find_fewest(lambda count: count >= needed, 3, 20) == (0 if needed > 20 else max(3, needed))


def test_failed_requests_miss_slo_but_are_no_latencies() -> None:
    times_s = np.array([0.1] * 98 + [9.0] * 2)
    objectives = [parse_objective("latency_ms.p99 < 1000")]
    is_failed = times_s > 1
    assert not SimulatedRequests(np.arange(100.0), times_s).meets(objectives)
    assert not SimulatedRequests(np.arange(100.0), times_s, is_failed=is_failed).meets(objectives)  # 2 % failed
    assert (
        SimulatedRequests(np.arange(100.0), times_s, is_failed=is_failed).without_first(0.5).times_s("latency_ms").max()
        < 1
    )


def test_study_stages_are_summarized_by_product() -> None:
    truth = draw_known_truth(0, 1)
    assert truth.service.name == KNOWN_FAMILIES[0]
    assert find_saturation_per_s(truth.service) == pytest.approx(1 / truth.service.pace_s, rel=0.15)
    objectives = tuple(parse_objective(text) for text in truth.slo)
    runner = StageRunner(truth, objectives, np.random.default_rng(1))
    loads = [OpenArrivals("poisson", ((0.0, share * truth.saturation_per_s),)) for share in (0.3, 1.5)]
    duration_s = 1_000 / truth.saturation_per_s
    stages = [
        runner.run(ResolvedStage(name="probe", kind="probe", load=StageLoad(load, duration_s), drain_s=3.0))
        for load in loads
    ]
    assert [stage.meets_slo for stage in stages] == [True, False]
    assert runner.now_ns() > 2e9 * duration_s


@pytest.mark.soak
def test_plan_of_known_family_has_stated_probability() -> None:
    truth = draw_known_truth(0, 1)
    target = measure(truth, [1])
    assert target is not None
    assert target.fit is not None
    statement = read_statement(plan(truth, target))
    assert statement.probability is not None
    assert statement.instances is not None
    assert statement.instances >= 0.8 * truth.peak_per_s / truth.saturation_per_s
