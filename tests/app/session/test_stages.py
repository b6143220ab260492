from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.errors import ExitCode
from app.records.events import PhaseChanged, RateChanged, StageFinished, StageStarted
from app.records.result import Objective, OutputSummary, SessionOutcomeName, SessionSummary
from app.records.stage import StageData
from app.session.spec import LimitSpec, RunSpec, StageSpec
from loadgen.records import Arrivals, ClosedArrivals, LiveSessionCounts, OpenArrivals, StageLoad, TraceArrivals
from loadgen.workloads import LocustWorkload, OpenAiWorkload, SyntheticPrompts, UniformLength
from tests.fakes.bench import SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad

SPIKE = OpenArrivals("poisson", ((0.0, 50.0), (3.0, 50.0), (3.0, 200.0), (4.0, 200.0), (4.0, 50.0)))


def build_spec(*stages: StageSpec, **changes: object) -> RunSpec:
    return msgspec.structs.replace(SPEC, stages=stages, **changes)


def list_stage_data(bench: Bench) -> list[StageData]:
    return [event.data for event in bench.reported(StageFinished)]


def test_closed_loop_stage_has_no_rate(bench: Bench) -> None:
    outcome = bench.run(build_spec(StageSpec("closed", "closed", StageLoad(ClosedArrivals(4, 0.01), 5.0))))
    (stage_data,) = list_stage_data(bench)
    assert (stage_data.arrival_kind, stage_data.rate_per_s, stage_data.rates) == ("closed", None, ())
    assert (stage_data.concurrency, stage_data.think_s) == (4, 0.01)
    (started,) = bench.reported(StageStarted)
    assert (started.offered_per_s, started.concurrency) == (None, 4)
    (stage,) = outcome.result.stages
    # Four concurrent requests keep one server of 4 ms nearly always busy.
    assert stage.metrics["completed_per_s"]["value"].value == pytest.approx(230, rel=0.1)
    assert outcome.result.max_rate is None, "a closed loop has no max rate"


@pytest.mark.parametrize(
    ("kind", "arrivals", "arrival_kind", "rate"),
    [
        ("steady", OpenArrivals("gamma", ((0.0, 100.0),), cv=2.0), "gamma", 100.0),
        ("varying", OpenArrivals("constant", ((0.0, 50.0), (5.0, 100.0))), "constant", None),
        ("spike", SPIKE, "poisson", None),
        ("varying", TraceArrivals(np.arange(0, 10**9, 10**7, dtype="<i8").tobytes()), "trace", None),
    ],
)
def test_stage_data_describe_the_arrivals(
    bench: Bench, kind: str, arrivals: Arrivals, arrival_kind: str, rate: float | None
) -> None:
    outcome = bench.run(build_spec(StageSpec("s", kind, StageLoad(arrivals, 5.0))))  # type: ignore[arg-type]
    (stage_data,) = list_stage_data(bench)
    assert (stage_data.kind, stage_data.arrival_kind, stage_data.rate_per_s) == (kind, arrival_kind, rate)
    assert stage_data.rates == (arrivals.rates if isinstance(arrivals, OpenArrivals) else ())
    assert stage_data.cv == (arrivals.cv if isinstance(arrivals, OpenArrivals) else 1.0)
    assert bench.reported(StageStarted)[0].offered_per_s == rate
    assert [evaluated.stage for evaluated in outcome.result.slo] == ["s", "s"], "the SLO is evaluated on the only stage"


def test_spike_stage_is_summarized_in_the_result(bench: Bench) -> None:
    (stage,) = bench.run(build_spec(StageSpec("spike", "spike", StageLoad(SPIKE, 8.0)))).result.stages
    assert stage.spike is not None
    assert (stage.spike.baseline_per_s, stage.spike.peak_per_s) == (50.0, 200.0)


def test_lead_in_requests_are_stored_and_not_counted(bench: Bench) -> None:
    outcome = bench.run(build_spec(StageSpec("s", "steady", StageLoad(poisson(100.0), 5.0, lead_in_s=2.0))))
    (stage_data,) = list_stage_data(bench)
    assert stage_data.lead_in_s == 2.0
    (started,) = bench.reported(StageStarted)
    assert (started.start_ns, started.lead_in_s) == (stage_data.start_ns, 2.0)
    led_in = (bench.rows()["scheduled_ns"] < stage_data.start_ns).sum()
    assert led_in == pytest.approx(200, rel=0.3)
    assert outcome.result.stages[0].completed == len(bench.rows()) - led_in


def test_locust_stage_has_no_scheduled_times_and_no_generator_capacity(bench: Bench) -> None:
    spec = build_spec(StageSpec("users", "closed", StageLoad(ClosedArrivals(5), 5.0)), workload=LocustWorkload("l.py"))
    outcome = bench.run(spec, ScriptedLoad(bench.clock, is_locust=True))
    (stage_data,) = list_stage_data(bench)
    assert (stage_data.arrival_kind, stage_data.concurrency, stage_data.generator_capacity_per_s) == ("locust", 5, None)
    assert "loading l.py" in [phase.message for phase in bench.reported(PhaseChanged)]
    assert outcome.result.stages[0].metrics["service_ms"]["p50"].value is not None


def test_stage_data_of_multi_turn_prompts_are_marked_as_sessions(bench: Bench) -> None:
    prompts = SyntheticPrompts(UniformLength(5, 9), turns=UniformLength(1, 3))
    bench.run(build_spec(*SPEC.stages, workload=OpenAiWorkload("chat", "m", prompts)))
    assert list_stage_data(bench)[0].sessions


def test_sessions_without_an_outcome_are_counted_as_cut_off(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock)
    load.live_sessions = LiveSessionCounts(10, 5, 1, 2, 0, 40, 2_000_000, 90_000)
    result = bench.run(SPEC, load).result
    outcomes: dict[SessionOutcomeName, int] = {
        "completed": 5, "failed": 1, "context_limit": 2, "unusable_response": 0, "cut_off": 2,
    }  # fmt: skip
    assert list_stage_data(bench)[-1].live_sessions == SessionSummary(outcomes, 40, 50.0, 90.0)
    assert [stage.live_sessions for stage in result.stages] == [SessionSummary(outcomes, 40, 50.0, 90.0)]
    assert result.notes[-1].startswith("Sessions: 5 completed, 1 ended by a failed request, 2 ended at")
    assert "50 µs of CPU time on average and 90 µs at most" in result.notes[-1]


def test_structured_outputs_and_tool_calls_are_in_the_result(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock)
    load.outputs = {"responses": 100, "calling_responses": 10, "tool_calls": 15, "checked": 90, "valid": 81}
    result = bench.run(SPEC, load).result
    assert [stage.outputs for stage in result.stages] == [OutputSummary(100, 10, 15, 90, 81)]
    assert result.notes[-2:] == (
        "Structured output: 90 % of 90 checked responses match the JSON schema. The others are failures, bad-output.",
        "Tool calls: 15 in 10 of 100 responses (10 %).",
    )


def test_source_of_token_counts_is_noted(bench: Bench) -> None:
    outcome = bench.run(SPEC, ScriptedLoad(bench.clock, tokens=5, token_source="chunks"))
    assert outcome.result.notes == (
        "Output tokens are counted as one per stream chunk because the server reported no usage.",
    )
    assert outcome.result.stages[0].metrics["ttft_ms"]["p50"].value is not None


def test_closed_loop_stage_ends_at_the_duration_limit(bench: Bench) -> None:
    spec = build_spec(
        StageSpec("closed", "closed", StageLoad(ClosedArrivals(2), 10.0)), limits=LimitSpec(duration_s=3.0)
    )
    result = bench.run(spec).result
    assert result.exit.code == ExitCode.LIMIT
    assert result.stages[0].completed == pytest.approx(750, rel=0.1)


@pytest.mark.parametrize("limits", [LimitSpec(), LimitSpec(requests=100)])
def test_stage_with_a_number_of_requests_ends_with_the_last_request(bench: Bench, limits: LimitSpec) -> None:
    count = None if limits.requests else 100
    stage = StageSpec("counted", "steady", StageLoad(poisson(50.0), 10.0, max_requests=count))
    result = bench.run(build_spec(stage, limits=limits)).result
    (stage_data,), (counted,) = list_stage_data(bench), result.stages
    assert counted.completed == 100
    assert 1.0 < stage_data.duration_s < 4.0
    assert stage_data.extended_s == 0.0
    # Over all of the 10 s, the rate would be 10 req/s.
    assert counted.metrics["completed_per_s"]["value"].value == pytest.approx(50.0, rel=0.3)
    assert result.exit.code == (ExitCode.LIMIT if limits.requests else ExitCode.OK)


@pytest.mark.parametrize("clients", [1, 10])
@pytest.mark.parametrize("count", [1, 10, 49])
def test_closed_loop_of_a_few_requests_is_measured_until_the_last_response(
    bench: Bench, count: int, clients: int
) -> None:
    stage = StageSpec("few", "closed", StageLoad(ClosedArrivals(clients), 10.0, max_requests=count))
    result = bench.run(build_spec(stage, slo=()), ScriptedLoad(bench.clock, tokens=5)).result
    (measured,), rows = result.stages, bench.rows()
    assert (result.exit.code, result.verdict.status) == (ExitCode.OK, "WARN")
    assert {check.id for check in measured.checks if check.verdict != "VALID"} <= {
        "stationarity", "generator_capacity",  # unknown for streams
    }  # fmt: skip
    assert len(rows) == measured.completed == count
    duration_s = (rows["end_ns"].max() - rows["scheduled_ns"].min()) / 1e9
    assert measured.achieved_per_s.value == pytest.approx(count / duration_s)
    assert measured.good_per_s.value == pytest.approx(count / duration_s)
    for metric, amount in (("completed_per_s", count), ("output_tokens_per_s", 5 * count)):
        assert measured.metrics[metric]["value"].value == pytest.approx(amount / duration_s)
    assert measured.metrics["good_tokens_per_s"] == measured.metrics["output_tokens_per_s"]
    assert any("--requests 368" in note for note in result.notes)


@pytest.mark.parametrize(("count", "slo"), [(10, SPEC.slo), (72, ())], ids=["with an SLO", "enough for p95"])
def test_stage_with_an_slo_or_enough_responses_has_no_advice_to_send_more(
    bench: Bench, count: int, slo: tuple[Objective, ...]
) -> None:
    result = bench.run(
        build_spec(StageSpec("few", "closed", StageLoad(ClosedArrivals(1), 10.0, max_requests=count)), slo=slo)
    ).result
    assert not any("--requests" in note for note in result.notes)
    assert ("samples" in {check.id for check in result.validity if check.verdict == "WARN"}) == bool(slo)


def test_goodput_of_a_closed_loop_does_not_exceed_its_throughput(bench: Bench) -> None:
    stage = StageSpec("closed", "closed", StageLoad(ClosedArrivals(4), 0.5))
    (measured,) = bench.run(
        build_spec(stage, slo=()), ScriptedLoad(bench.clock, tokens=5, service_s=0.07)
    ).result.stages
    output, completed = (measured.metrics[name]["value"].value for name in ("output_tokens_per_s", "completed_per_s"))
    assert measured.metrics["good_tokens_per_s"]["value"].value == output
    assert measured.good_per_s.value == completed


class ChangeRate:
    """Changes the rate at the first progress of the stage."""

    def __init__(self, bench: Bench, rate_per_s: float) -> None:
        self._bench, self._rate_per_s, self._is_done = bench, rate_per_s, False

    def __call__(self, _: object) -> None:
        if not self._is_done:
            self._is_done = True
            self._bench.load.change_rate(self._rate_per_s)


def test_stage_with_a_changed_rate_has_no_single_rate(bench: Bench) -> None:
    changing = ChangeRate(bench, 150.0)
    outcome = bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=changing))
    (stage_data,) = list_stage_data(bench)
    assert (stage_data.kind, stage_data.rate_per_s) == ("varying", None)
    assert stage_data.rates[-1][1] == 150.0
    assert outcome.result.stages[0].scheduled_per_s is None
    assert outcome.result.max_rate is None


def test_rate_change_to_the_same_rate_is_ignored(bench: Bench) -> None:
    bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=ChangeRate(bench, 100.0)))
    assert (list_stage_data(bench)[0].kind, list_stage_data(bench)[0].rate_per_s) == ("steady", 100.0)
    assert bench.reported(RateChanged) == []


def test_stages_continue_the_request_sequence_and_a_trace_starts_at_request_0(bench: Bench) -> None:
    trace = TraceArrivals(np.arange(0, 10**9, 10**8, dtype="<i8").tobytes())
    outcome = bench.run(
        build_spec(
            *(StageSpec(name, "steady", StageLoad(poisson(100.0), 2.0)) for name in ("a", "b")),
            StageSpec("trace", "varying", StageLoad(trace, 2.0)),
        )
    )
    sent = [stage.completed for stage in outcome.result.stages]
    assert [plan.first_request for plan in bench.load.plans] == [0, sent[0], 0]
