from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.analysis.gating import Gating
from app.analysis.objectives import parse_gate, parse_objective
from app.errors import ExitCode, UsageError
from app.planning.fleets import plan_fleets
from app.planning.service_models import closed_loop, service_fit
from app.planning.service_models.moments import CannotFitError
from app.records.abort import AbortRule
from app.records.events import StageStarted
from app.records.result import Hardware, ObjectiveOutcome, Result, ShapePlan, Verdict
from app.records.service import RequestService
from app.session.result import collect_notes, compare_with_baseline
from app.session.spec import BaselineSpec, LimitSpec, PlanSpec, StageSpec
from app.storage.baselines import read_baselines
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from app.wiring.llm_quickstart import build_shape_inputs
from loadgen.records import ClosedArrivals, StageLoad
from loadgen.workloads import (
    BatchWorkload,
    FixedLength,
    GrpcWorkload,
    HttpWorkload,
    OipWorkload,
    OpenAiWorkload,
    RealtimeWorkload,
    SyntheticPrompts,
    Workload,
)
from tests.fakes.bench import SEARCH, SPEC, Bench, check_of, poisson
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.offers import TODAY, catalog_of, offer, planning_inputs
from tests.fakes.repeated import repeats
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.session_dependencies import NOON
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")


def test_notes_of_a_run_are_unique_and_in_order_of_occurrence() -> None:
    reported_notes = ("through a proxy", "lengths are approximate", "through a proxy")
    assert collect_notes(HttpWorkload(), reported_notes, Counter(), ["cooler on"]) == (
        "through a proxy",
        "lengths are approximate",
        "User note: cooler on",
    )


def test_chunks_counted_as_tokens_are_noted_with_their_share() -> None:
    (note,) = collect_notes(HttpWorkload(), (), Counter(server=1, chunks=3), ())
    assert note.startswith("Output tokens of 75 % of the responses are counted as one per stream chunk")
    assert collect_notes(HttpWorkload(), (), Counter(server=9), ()) == ()
    assert "tokenizer" in collect_notes(HttpWorkload(), (), Counter(tokenizer=2), ())[0]


CHAT = OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(5)))


@pytest.mark.parametrize(
    ("workload", "word"),
    [
        (CHAT, None),
        (OipWorkload("m", transport="grpc"), "gRPC"),
        (GrpcWorkload("a/b"), "gRPC"),
        (BatchWorkload(OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(9)))), "load.batch.poll"),
        (RealtimeWorkload("m"), "A dialog sends and receives many messages"),
        (OipWorkload("m"), None),
        (OpenAiWorkload("messages", "m", SyntheticPrompts(FixedLength(5), turns=FixedLength(2))), "multi-turn"),
        (OpenAiWorkload("embeddings", "m", SyntheticPrompts(FixedLength(5))), None),
    ],
)
def test_requests_more_expensive_than_calibrated_are_noted(workload: Workload, word: str | None) -> None:
    notes = collect_notes(workload, (), Counter(), ())
    assert bool(notes) is (word is not None)
    assert word is None or word in notes[0]


def run_bench(tmp_path: Path, name: str) -> Result:
    return Bench(tmp_path / name).run(SPEC).result


def speed_up(result: Result, by: float) -> Result:
    """Return the result with latencies divided by `by`."""

    def scaled(estimate: object) -> object:
        value, ci95 = estimate.value, estimate.ci95  # type: ignore[attr-defined]
        if value is None:
            return estimate
        return msgspec.structs.replace(estimate, value=value / by, ci95=ci95 and tuple(end / by for end in ci95))  # type: ignore[type-var]

    stages = tuple(
        msgspec.structs.replace(
            stage,
            metrics=stage.metrics
            | {"latency_ms": {name: scaled(percentile) for name, percentile in stage.metrics["latency_ms"].items()}},
        )
        for stage in result.stages
    )
    return msgspec.structs.replace(result, run_id="before", stages=stages)


@pytest.mark.parametrize(
    ("share", "gate", "code"),
    [(0.4, None, 0), (0.6, None, 10), (0.6, "error_rate <= 90%", 0), (0.6, "latency_ms.p50 < 50", 10)],
)
def test_run_without_an_error_limit_fails_if_most_requests_fail(
    tmp_path: Path, share: float, gate: str | None, code: int
) -> None:
    bench = Bench(tmp_path)
    load = ScriptedLoad(bench.clock, error="http-4xx", error_share=share)
    spec = msgspec.structs.replace(SPEC, slo=(), gates=() if gate is None else (parse_gate(gate),))
    result = bench.run(spec, load).result
    assert [(cause.id, cause.code) for cause in result.exit.causes] == ([("requests_failed", 10)] if code else [])
    assert result.exit.code == code


def test_regression_against_the_baseline_exits_with_11(tmp_path: Path) -> None:
    before = speed_up(run_bench(tmp_path, "before"), by=3.0)
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((before,), 0.05))
    result = Bench(tmp_path / "now").run(spec).result
    assert result.comparison is not None
    assert result.comparison.baseline == ("before",)
    assert result.exit.code == ExitCode.REGRESSION
    assert "baseline_regressed" in [cause.id for cause in result.exit.causes]


def test_repeated_regression_is_reported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    slow = (parse_objective("latency_ms.p95 < 500"),)

    def measure(run_id: str, service_s: float) -> int:
        last = None if run_id == "1" else BaselineSpec(read_baselines("last", SPEC.name), 0.05)
        spec = msgspec.structs.replace(SPEC, run_id=run_id, slo=slow, baseline=last)
        bench = Bench(tmp_path / "runs" / run_id)
        return bench.run(spec, ScriptedLoad(bench.clock, service_s=service_s)).result.exit.code

    times_s = {"1": 0.002, "2": 0.006, "3": 0.006, "4": 0.002}
    assert [measure(run_id, service_s) for run_id, service_s in times_s.items()] == [0, 11, 11, 0]


def test_run_equal_to_its_baseline_has_the_same_exit_as_without_a_baseline(tmp_path: Path) -> None:
    before = run_bench(tmp_path, "before")
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((before,), 0.05))
    result = Bench(tmp_path / "now").run(spec).result
    assert result.comparison is not None
    assert result.exit == before.exit
    assert result.comparison.differences == ()


def test_baseline_of_another_workload_is_rejected_unless_forced(tmp_path: Path) -> None:
    before = msgspec.structs.replace(run_bench(tmp_path, "before"), workload_hash="one")
    spec = msgspec.structs.replace(SPEC, workload_hash="other", baseline=BaselineSpec((before,), 0.05))
    refused = Bench(tmp_path / "refused")
    reason = r"the baseline is not comparable: workload: one \(baseline\), other \(candidate\)"
    with pytest.raises(UsageError, match=reason):
        refused.run(spec)
    forced = msgspec.structs.replace(spec, baseline=BaselineSpec((before,), 0.05, is_forced=True))
    comparison = Bench(tmp_path / "forced").run(forced).result.comparison
    assert comparison is not None
    assert comparison.is_forced


def test_baseline_without_a_valid_stage_is_a_usage_error_and_the_result_is_stored(tmp_path: Path) -> None:
    before = run_bench(tmp_path, "before")
    (stage,) = before.stages
    invalid = msgspec.structs.replace(stage, verdict=Verdict("INVALID", ("too busy",)))
    empty = msgspec.structs.replace(before, stages=(invalid,), max_rate=None)
    spec = msgspec.structs.replace(SPEC, baseline=BaselineSpec((empty,), 0.05))
    bench = Bench(tmp_path / "now")
    result = bench.run(spec).result
    assert result.exit.code == ExitCode.USAGE
    assert result.stages
    assert (bench.directory / "result.json").exists()


def test_baseline_with_only_probes_in_common_is_inconclusive() -> None:
    (run,) = repeats([10.0])
    probed = msgspec.structs.replace(
        run, stages=tuple(msgspec.structs.replace(probe, kind="probe") for probe in run.stages)
    )
    baseline = BaselineSpec((msgspec.structs.replace(probed, run_id="before"),), 0.05)
    warned, failed = (
        compare_with_baseline(probed, baseline, Gating(on_inconclusive=policy)) for policy in ("warn", "fail")
    )
    assert "baseline_inconclusive" not in [cause.id for cause in warned.exit.causes]
    assert [cause.text for cause in failed.exit.causes if cause.id == "baseline_inconclusive"] == [
        "the comparison with the baseline is inconclusive: no headline metric has a value in both runs"
    ]


def test_baseline_with_other_stages_is_rejected_before_the_first_request(tmp_path: Path) -> None:
    before = run_bench(tmp_path, "before")
    (stage,) = before.stages
    other = msgspec.structs.replace(before, stages=(msgspec.structs.replace(stage, name="other"),))
    bench = Bench(tmp_path / "now")
    with pytest.raises(UsageError, match="no stage in common"):
        bench.run(msgspec.structs.replace(SPEC, baseline=BaselineSpec((other,), 0.05)))
    assert bench.reported(StageStarted) == []


def test_max_rate_baseline_with_another_slo_is_rejected_before_the_first_request(tmp_path: Path) -> None:
    before = Bench(tmp_path / "before").run(SEARCH).result
    assert before.max_rate is not None
    slo = (parse_objective("latency_ms.p95 < 77"),)
    bench = Bench(tmp_path / "now")
    changed = msgspec.structs.replace(SEARCH, slo=slo, baseline=BaselineSpec((before,), 0.05))
    with pytest.raises(UsageError, match=r"SLO: .* < 77"):
        bench.run(changed)
    assert bench.reported(StageStarted) == []


HOUR_S = 3_600


def step_clocks(clock: FakeClock, wall_s: float, boot_s: float) -> Callable[[], ClockReading]:
    """Return clocks of this machine that jump ahead by `wall_s` and `boot_s` after the start of the run."""
    start_ns = clock.now_ns

    def read() -> ClockReading:
        is_later = clock.now_ns > start_ns
        wall_ns, boot_ns = round(wall_s * 1e9) * is_later, round(boot_s * 1e9) * is_later
        return ClockReading(clock.now_ns, 10**18 + clock.now_ns + wall_ns, clock.now_ns + boot_ns)

    return read


def dates(clock: FakeClock, wall_s: float) -> Callable[[], datetime.datetime]:
    start_ns = clock.now_ns
    return lambda: NOON + datetime.timedelta(seconds=wall_s * (clock.now_ns > start_ns))


@pytest.mark.parametrize("wall_s", [HOUR_S, -HOUR_S])
def test_wall_clock_change_is_a_warning_and_does_not_affect_metrics(tmp_path: Path, wall_s: float) -> None:
    bench, undisturbed = Bench(tmp_path / "stepped"), Bench(tmp_path / "undisturbed")
    reading, date = step_clocks(bench.clock, wall_s, 0.0), dates(bench.clock, wall_s)
    outcome = bench.run(msgspec.structs.replace(SPEC, warmup_s=6.0), read_clock=reading, wall_now=date)
    expected = undisturbed.run(msgspec.structs.replace(SPEC, warmup_s=6.0))
    check = check_of(outcome, "clock")
    assert check is not None
    assert check.verdict == "WARN"
    assert "No metric uses the wall clock" in str(check.hint)
    assert outcome.result.stages == expected.result.stages
    assert outcome.result.slo == expected.result.slo
    assert outcome.result.exit == expected.result.exit
    assert StoredRun(bench.directory).requests() == StoredRun(undisturbed.directory).requests()
    assert outcome.result.clock.wall_start == expected.result.clock.wall_start
    assert outcome.result.clock.duration_s == expected.result.clock.duration_s


def test_suspended_machine_makes_the_run_invalid(bench: Bench) -> None:
    outcome = bench.run(SPEC, read_clock=step_clocks(bench.clock, 5.0, 5.0))
    check = check_of(outcome, "clock")
    assert check is not None
    assert (check.unit, check.verdict) == ("s suspended", "INVALID")
    assert check.value == pytest.approx(5.0)
    assert outcome.result.exit.code == ExitCode.INVALID


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to fit load points, which would take most of the time of tests of plans."""

    def refuse(_: object) -> None:
        raise CannotFitError("not fitted")

    monkeypatch.setattr(service_fit, "fit_service", refuse)


def run_demonstration(tmp_path: Path, suspended_s: float = 0.0, **changes: Any) -> Result:
    bench = Bench(tmp_path / str(len(list(tmp_path.iterdir()))))
    here = Hardware("here", vcpus=16, architecture="x86_64")
    capacity_question = planning_inputs(catalog=catalog_of(offer("other", vcpus=32)))
    spec = msgspec.structs.replace(
        SEARCH,
        target=msgspec.structs.replace(SEARCH.target, hardware=here),
        plan=PlanSpec(
            capacity_question.traffic, capacity_question.limits, capacity_question.catalog, capacity_question.today
        ),
        is_demonstration=True,
    )
    reading = step_clocks(bench.clock, suspended_s, suspended_s)
    return bench.run(msgspec.structs.replace(spec, **changes), read_clock=reading).result


@pytest.mark.usefixtures("unfitted")
def test_demonstration_plans_from_an_invalid_measurement_as_assumed_and_exits_with_0(tmp_path: Path) -> None:
    shown, run = (run_demonstration(tmp_path, 5.0, is_demonstration=is_shown) for is_shown in (True, False))
    for result in (shown, run):
        assert result.verdict.status == "INVALID"
        assert [cause.id for cause in result.exit.causes] == ["invalid"]
    assert (shown.exit.code, run.exit.code) == (ExitCode.OK, ExitCode.INVALID)
    assert shown.plan is not None
    assert shown.plan.recommendation is not None
    assert shown.plan.recommendation.fleet.basis == "assumed"
    assert "Close other programs and run again." in shown.notes[-1]
    assert run.plan is not None
    assert {fleet.basis for fleet in run.plan.offers} == {"extrapolated"}
    assert not any("Close other programs" in note for note in run.notes)


def test_demonstration_without_a_max_rate_has_a_note_instead_of_a_plan(tmp_path: Path) -> None:
    slo = (parse_objective("latency_ms.p95 < 0.001"),)
    result = run_demonstration(tmp_path, 5.0, slo=slo)
    assert (result.plan, result.exit.code) == (None, ExitCode.OK)
    assert result.notes[-1].startswith("The max rate is too uncertain")
    assert run_demonstration(tmp_path, 5.0, slo=slo, is_demonstration=False).exit.code == ExitCode.INVALID


@pytest.mark.usefixtures("unfitted")
def test_valid_demonstration_plans_like_any_run(tmp_path: Path) -> None:
    shown, run = (run_demonstration(tmp_path, is_demonstration=is_shown) for is_shown in (True, False))
    assert shown.verdict.status == "VALID", shown.verdict
    assert (shown.plan, shown.notes, shown.exit) == (run.plan, run.notes, run.exit)


CLIENTS = tuple(
    StageSpec(f"sweep {n} clients", "closed", StageLoad(ClosedArrivals(n), 5.0), is_in_sweep=True) for n in (1, 4, 8)
)


@pytest.mark.parametrize("is_fitted", first_in_unit_tier([False, True]))
def test_concurrency_sweep_is_planned_up_to_the_load_that_met_the_slo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fitted: bool
) -> None:
    """A fit takes most of the time; the unit tier replaces it with a prepared model."""
    if not is_fitted:
        model = fit_of(fitted_service(RequestService(4, 0.01, 0.5)), highest_per_s=800.0)
        monkeypatch.setattr(closed_loop, "fit_closed_loop", lambda _: model)
    slo = (parse_objective("latency_ms.p95 < 50"),)
    result = run_demonstration(tmp_path, search=None, stages=CLIENTS, slo=slo)
    assert result.max_rate is None
    assert result.plan is not None
    assert result.plan.recommendation is not None
    assert result.plan.recommendation.fleet.basis == "extrapolated"
    none_met = run_demonstration(
        tmp_path, search=None, stages=CLIENTS, slo=(parse_objective("latency_ms.p95 < 0.001"),)
    )
    assert (none_met.plan, none_met.exit.code) == (None, ExitCode.OK)
    assert none_met.notes[-1].startswith("No load met the SLO, so no fleet is planned.")


def test_unmeasured_model_has_its_own_plan_independent_of_the_run(tmp_path: Path) -> None:
    inputs = build_shape_inputs(TODAY)
    slo = (parse_objective("latency_ms.p95 < 0.001"),)
    result = run_demonstration(tmp_path, search=None, stages=CLIENTS, slo=slo, shape_inputs=inputs)
    assert (result.plan, result.exit.code) == (None, ExitCode.OK)
    assert any(note.startswith("No load met the SLO, so no fleet is planned.") for note in result.notes)
    assert result.shape_plan == ShapePlan("Llama 3.1 8B", plan_fleets(inputs, estimate_only=True))


def test_sweep_objectives_are_evaluated_at_the_heaviest_load_that_meets_the_slo(bench: Bench) -> None:
    """A lighter load has fewer responses, so an error rate may be inconclusive there."""
    slo = (parse_objective("latency_ms.p95 < 50"), parse_objective("error_rate < 1%"))
    rates = tuple(
        StageSpec(f"sweep {rate:g} req/s", "steady", StageLoad(poisson(rate), 5.0), is_in_sweep=True)
        for rate in (20.0, 60.0, 180.0, 400.0)
    )
    result = bench.run(msgspec.structs.replace(SPEC, stages=rates, slo=slo)).result
    assert [objective.stage for objective in result.slo] == ["sweep 180 req/s"] * 2
    assert result.slo[1].outcome == "PASS"
    clients = tuple(
        StageSpec(f"sweep {n} clients", "closed", StageLoad(ClosedArrivals(n), 5.0), is_in_sweep=True)
        for n in (1, 4, 8, 64)
    )
    closed = Bench(bench.directory.parent / "closed").run(msgspec.structs.replace(SPEC, stages=clients, slo=slo))
    assert [(objective.stage, objective.outcome) for objective in closed.result.slo] == [
        ("sweep 8 clients", "PASS")
    ] * 2


CALM_AND_PEAK = (
    StageSpec("calm", "steady", StageLoad(poisson(50.0), 10.0)),
    StageSpec("peak", "steady", StageLoad(poisson(400.0), 10.0)),  # above the capacity of the server
)
HALF = {"error": "http-5xx", "error_share": 0.5}
FAILURES = {
    "latency_ms.p95{stage=calm} < 50": "p95 latency < 50 ms was not met in calm",
    "latency_ms.p95{stage=peak} < 50": "p95 latency < 50 ms was not met in peak",
    "latency_ms.p95 < 50": "p95 latency < 50 ms was not met in peak",
    "good_per_s{stage=calm} >= 90% of offered_per_s": "goodput >= 90 % of offered rate was not met in calm",
    "completed_per_s{stage=calm} >= 90% of achieved_per_s": "throughput >= 90 % of send rate was not met in calm",
    "error_rate{stage=calm} < 1%": "error rate < 1 % was not met in calm",
    "max_rate_within_slo >= 500": "max rate within SLO >= 500 req/s was not met",
}


@pytest.mark.parametrize(
    ("gate", "load", "outcome", "stage"),
    [
        ("latency_ms.p95{stage=calm} < 50", {}, "PASS", "calm"),
        ("latency_ms.p95{stage=calm} < 50", {"service_s": 0.06}, "FAIL", "calm"),
        ("latency_ms.p95{stage=peak} < 50", {}, "FAIL", "peak"),
        ("latency_ms.p95 < 50", {}, "FAIL", "peak"),
        ("good_per_s{stage=calm} >= 90% of offered_per_s", {}, "PASS", "calm"),
        ("good_per_s{stage=calm} >= 90% of offered_per_s", HALF, "FAIL", "calm"),
        ("completed_per_s{stage=calm} >= 60% of achieved_per_s", {}, "PASS", "calm"),
        ("completed_per_s{stage=calm} >= 90% of achieved_per_s", HALF, "FAIL", "calm"),
        ("error_rate{stage=calm} < 1%", {}, "PASS", "calm"),
        ("error_rate{stage=calm} < 1%", HALF, "FAIL", "calm"),
        ("max_rate_within_slo >= 40", {}, "PASS", None),
        ("max_rate_within_slo >= 500", {}, "FAIL", None),
        ("max_rate_within_slo >= 100", {}, "INCONCLUSIVE", None),  # no stage between 50/s and 400/s
    ],
)
def test_gate_outcomes_depend_on_the_measured_values(
    bench: Bench, gate: str, load: dict[str, Any], outcome: ObjectiveOutcome, stage: str | None
) -> None:
    spec = msgspec.structs.replace(SPEC, stages=CALM_AND_PEAK, slo=SPEC.slo[:1], gates=(parse_gate(gate),))
    spec = msgspec.structs.replace(spec, gating=Gating("fail"))
    result = bench.run(spec, ScriptedLoad(bench.clock, **load)).result
    (evaluated,) = result.gates
    assert (evaluated.outcome, evaluated.stage) == (outcome, stage), evaluated.observed
    is_reported = any(gate in FAILURES and cause.startswith(FAILURES[gate]) for cause in result.exit.texts)
    assert is_reported is (outcome == "FAIL")


@pytest.mark.parametrize(
    ("gate", "gating", "code"),
    [
        ("latency_ms.p50 < 500", Gating("fail"), ExitCode.OK),
        ("latency_ms.p50 < 1", Gating("fail"), ExitCode.GATE_FAILED),
        ("latency_ms.p50 < 1 | warn", Gating("fail"), ExitCode.OK),
        ("latency_ms.p50 < 1", Gating(kinds=("regression",)), ExitCode.OK),
        ("change(latency_ms.p50) < +8%", Gating(), ExitCode.OK),
        ("change(latency_ms.p50) < +8%", Gating("fail"), ExitCode.INCONCLUSIVE),
        ("latency_ms.p99.9 < 50", Gating("fail"), ExitCode.INCONCLUSIVE),
    ],
)
def test_gates_determine_the_exit_code(bench: Bench, gate: str, gating: Gating, code: ExitCode) -> None:
    slo = (parse_objective("latency_ms.p95 < 50"), parse_objective("error_rate < 5%"))
    result = bench.run(msgspec.structs.replace(SPEC, slo=slo, gates=(parse_gate(gate),), gating=gating)).result
    assert result.exit.code == code, result.exit
    assert {cause.code for cause in result.exit.causes} == ({code} - {ExitCode.OK})


@pytest.mark.parametrize(("share", "aborts"), [(0.5, True), (0.1, False)])
def test_abort_rule_ends_the_run_and_measured_stages_are_retained(bench: Bench, share: float, aborts: bool) -> None:
    rule = AbortRule("error_rate > 20% after 5s", parse_objective("error_rate > 20%"), 5.0)
    stages = tuple(msgspec.structs.replace(SPEC.stages[0], name=name) for name in ("first", "second", "third"))
    spec = msgspec.structs.replace(SPEC, stages=stages, slo=(), limits=LimitSpec(abort_when=rule))
    load = ScriptedLoad(bench.clock, error="http-5xx", error_share=share, error_after=1)
    result = bench.run(spec, load).result
    assert [stage.name for stage in result.stages] == ["first", "second", "third"][: 2 if aborts else 3]
    if not aborts:
        assert result.exit.code == ExitCode.OK
        return
    assert result.exit.code == ExitCode.LIMIT
    assert result.exit.texts[0].startswith("the abort rule error_rate > 20% after 5s was met in second after 5")
    assert result.stages[0].completed > 900
    assert 0 < result.stages[1].completed < 400
    assert len(bench.rows()) > 1400


@pytest.mark.parametrize(("right_share", "verdict"), [(0.97, "VALID"), (0.1, "WARN")])
def test_accuracy_at_chance_level_is_a_warning(bench: Bench, right_share: float, verdict: str) -> None:
    spec = msgspec.structs.replace(SPEC, chance_accuracy=0.1)
    outcome = bench.run(spec, ScriptedLoad(bench.clock, right_share=right_share))
    check = check_of(outcome, "accuracy_above_chance")
    assert check is not None
    assert (check.limit, check.verdict) == (0.1, verdict)
    assert check.value == pytest.approx(right_share, abs=0.02)
    assert check_of(Bench(bench.directory.parent / "unlabelled").run(spec), "accuracy_above_chance") is None
