from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.analysis.gating import DEFAULT_GATING, list_warnings
from app.records.result import (
    SWEEP_TAG,
    Cause,
    Estimate,
    Exit,
    MaxRate,
    ObjectiveResult,
    Result,
    Stage,
    StageKind,
    Verdict,
)
from app.reporting.verdict import build_local_headline, build_verdict
from tests.fakes.local_runs import local_run, run_of_failed_variants, run_of_one_variant, run_with_fallback_nodes
from tests.fakes.results import GATE, SLO, full_run, interrupted_run, run_exit, run_without_load
from tests.fakes.searched_runs import Bound, hopeless_run, searched_run
from tests.fakes.traffic import clients_run

_RESULT = local_run().result


def build_result_without_best() -> Result:
    assert _RESULT.local is not None
    local = msgspec.structs.replace(_RESULT.local, best=None, best_reason="missed")
    missed = msgspec.structs.replace(_RESULT.slo[0], outcome="FAIL", stage=_RESULT.stages[3].name)
    return msgspec.structs.replace(
        _RESULT, local=local, slo=(missed,), exit=run_exit(10, "service_ms.p99 < 8 failed in single-stream")
    )


def test_local_verdict_starts_with_the_best_variant_and_counts_the_others() -> None:
    assert build_verdict(_RESULT).sentence == (
        "Max throughput 1,600\u202finferences/s (single-stream) within SLO (p99 service time < 8 ms): cpu int8-static, "
        "batch 4. 5 variants were measured, 1 ended early and 1 was skipped."
    )


def test_local_verdict_without_a_passing_variant_names_the_closest() -> None:
    verdict = build_verdict(build_result_without_best())
    assert verdict.outcome == "FAIL"
    assert verdict.sentence.startswith(
        "No variant met the SLO. The closest variant, cpu as-is, batch 16, missed p99 service time < 8 ms (measured 23."
    )
    assert verdict.reasons == ("service_ms.p99 < 8 failed in single-stream",)


def test_verdict_of_a_single_variant_is_its_throughput() -> None:
    assert build_verdict(run_of_one_variant().result).sentence == (
        "Max throughput 500\u202finferences/s (single-stream): digits cpu as-is, batch 1. 1 variant was measured. "
        "No SLO is set."
    )


def test_verdict_of_a_local_rate_search_starts_with_the_max_rate() -> None:
    assert build_verdict(searched_run().result).sentence == (
        "Max rate 400\u202fcalls/s (batch 4: 1,600\u202finferences/s) within SLO (p95 latency < 9 ms): digits cpu "
        "int8-static, batch 4. 1 variant was measured."
    )
    assert build_verdict(searched_run(alone=False).result).sentence.startswith(
        "Max rate 400\u202fcalls/s (batch 4: 1,600\u202finferences/s) within SLO (p95 latency < 9 ms): int8-static, "
        "batch 4"
    )


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        ("generator", "The load generator could not start calls on time at a higher rate"),
        ("untested", "No higher rate was tested"),
    ],
)
def test_verdict_of_a_lower_bound_is_at_least_the_rate_with_a_reason(bound: Bound, reason: str) -> None:
    assert build_verdict(searched_run(bound=bound).result).sentence == (
        "Max rate at least 400\u202fcalls/s (batch 4: 1,600\u202finferences/s) within SLO (p95 latency < 9 ms): digits "
        f"cpu int8-static, batch 4. {reason}, so the maximum may be higher. 1 variant was measured."
    )


def test_verdict_counts_arrivals_that_never_started() -> None:
    assert "9,000 arrivals never started" in build_verdict(hopeless_run().result).sentence


def test_verdict_without_a_measured_variant_is_nothing_was_measured() -> None:
    assert build_local_headline(run_of_failed_variants().result) is None
    assert build_verdict(run_of_failed_variants().result).sentence == "Nothing was measured."


def test_invalid_verdict_still_has_the_best_valid_variant() -> None:
    verdict = build_verdict(run_with_fallback_nodes().result)
    assert verdict.outcome == "INVALID"
    assert verdict.headline.startswith("Max throughput")
    assert ": cpu" in verdict.headline
    assert verdict.detail.endswith("Do not use the numbers that are marked INVALID.")


def test_local_verdict_names_inconclusive_objectives() -> None:
    evaluated = msgspec.structs.replace(_RESULT.slo[0], outcome="INCONCLUSIVE")
    sentence = build_verdict(msgspec.structs.replace(_RESULT, slo=(evaluated,))).sentence
    assert sentence.endswith("The result is inconclusive for p99 service time < 8 ms.")


RESULT = full_run().result
STAGES_WITH_FAILED_STEP = (*RESULT.stages, replace(RESULT.stages[-1], meets_slo=False))
"""Stages of a search whose last step failed."""
MET, MISSED, INCONCLUSIVE = (
    ObjectiveResult(SLO, Estimate(1.0), outcome) for outcome in ("PASS", "FAIL", "INCONCLUSIVE")
)


@pytest.mark.parametrize(
    ("changes", "outcome", "sentence"),
    [
        ({}, "PASS", "Max rate 218\u202freq/s within SLO (p95 latency < 50 ms, error rate < 1 %). At 238"),
        ({"max_rate": None, "slo": (MET,)}, "PASS", "All 2 objectives met."),
        ({"max_rate": None, "slo": (MET,), "gates": ()}, "PASS", "Objective met: p95 latency < 50 ms."),
        (
            {"max_rate": None, "slo": (MISSED,)},
            "FAIL",
            "P95 latency < 50 ms was not met: measured 1 ms. p95 latency",
        ),
        ({"slo": (MISSED,)}, "FAIL", "P95 latency < 50 ms was not met: measured 1 ms. Max rate 218"),
        (
            {"exit": Exit(11, (Cause("change_failed", 11, "p95 latency is 30 % worse"),))},
            "FAIL",
            "P95 latency is 30 % worse. Max rate 218",
        ),
        (
            {"max_rate": None, "slo": (INCONCLUSIVE,), "gates": ()},
            "INCONCLUSIVE",
            "1 of 1 objective inconclusive. The result is inconclusive for p95 latency < 50 ms.",
        ),
        (
            {"max_rate": None, "slo": (), "gates": ()},
            "MEASURED",
            "12.1 % of 6,504 requests failed, mostly with http-4xx. p95 latency 36.7",
        ),
        ({"verdict": Verdict("INVALID", ("late",))}, "INVALID", "Measurement invalid: do not use these results."),
        (
            {"max_rate": None, "exit": run_exit(10, "no request to the target succeeded")},
            "FAIL",
            "No request to the target succeeded.",
        ),
        (
            {
                "max_rate": MaxRate(Estimate(None, reason="the lowest rate failed"), (SLO.text,), "nothing"),
                "stages": STAGES_WITH_FAILED_STEP,
            },
            "PASS",
            "No tested rate met the SLO (p95 latency < 50 ms). The lowest rate failed.",
        ),
        (
            {
                "max_rate": MaxRate(
                    Estimate(None, reason="x"), (SLO.text,), "at 9/s latency_ms.p95 was 70 ms", failed_per_s=9.0
                ),
                "stages": STAGES_WITH_FAILED_STEP,
            },
            "PASS",
            "No tested rate met the SLO (p95 latency < 50 ms). At 9/s latency_ms.p95 was 70 ms.",
        ),
        (
            {"max_rate": MaxRate(Estimate(20.0), (SLO.text,), "nothing failed", is_lower_bound=True), "slo": (MET,)},
            "PASS",
            "Max rate at least 20.0\u202freq/s within SLO (p95 latency < 50 ms). No higher rate was tested, so the "
            "maximum may be higher.",
        ),
        (
            {
                "max_rate": MaxRate(Estimate(8.0), (SLO.text,), "nothing", is_lower_bound=True, sessions=True),
                "slo": (MET,),
            },
            "PASS",
            "Max rate at least 8.00\u202fsessions/s within SLO",
        ),
        ({"exit": run_exit(5, "stopped by a limit")}, "INCONCLUSIVE", "Stopped early: partial results."),
        (
            {"exit": run_exit(130, "the user stopped the run"), "slo": (), "gates": ()},
            "MEASURED",
            "Stopped early: partial results.",
        ),
        (
            {"exit": run_exit(130, "the user stopped the run"), "slo": (), "gates": (), "stages": ()},
            "INCONCLUSIVE",
            "Stopped before anything was measured.",
        ),
    ],
)
def test_verdict_has_outcome_and_sentence(changes: dict[str, Any], outcome: str, sentence: str) -> None:
    gates = (ObjectiveResult(GATE, Estimate(1.0), "PASS"),)
    verdict = build_verdict(msgspec.structs.replace(RESULT, **{"gates": gates, **changes}))
    assert verdict.outcome == outcome
    assert verdict.sentence.startswith(sentence)


def test_verdict_without_an_slo_starts_with_the_latency() -> None:
    stages = tuple(replace(stage, errors={}) for stage in RESULT.stages)
    verdict = build_verdict(replace(RESULT, stages=stages, max_rate=None, slo=(), gates=()))
    assert verdict.outcome == "MEASURED"
    assert verdict.headline.startswith("p95 latency 36.7")
    assert verdict.detail.endswith("No SLO is set, so there is no verdict.")


def test_cause_in_the_headline_is_not_repeated_as_a_reason() -> None:
    text = "60 % of 6,504 requests failed"
    failed = replace(RESULT, max_rate=None, slo=(), gates=(), exit=Exit(10, (Cause("requests_failed", 10, text),)))
    verdict = build_verdict(failed)
    assert verdict.outcome == "FAIL"
    assert "requests failed" in verdict.headline
    assert verdict.reasons == ()


def test_failed_rate_search_is_reported_once() -> None:
    max_rate = MaxRate(Estimate(None, reason="the lowest rate failed"), (SLO.text,), "nothing")
    causes = (
        Cause("no_rate", 10, "no tested rate met the SLO: the lowest rate failed"),
        Cause("target_failed", 10, "other"),
    )
    verdict = build_verdict(msgspec.structs.replace(RESULT, max_rate=max_rate, exit=Exit(10, causes)))
    assert verdict.detail == "The lowest rate failed."
    assert verdict.reasons == ("other",)


@pytest.mark.parametrize(
    "kinds",
    [(), ("probe",), ("steady", "probe")],
    ids=["no probe", "a probe that passed", "a stage of the profile, and a probe that passed"],
)
def test_rate_search_without_a_confirmed_rate_is_inconclusive(
    kinds: tuple[StageKind, ...],
) -> None:
    model_stage, loaded = RESULT.stages[0], replace(RESULT.stages[-1], meets_slo=True)
    assert (model_stage.kind, model_stage.variant is None) == ("steady", False)
    passed = (model_stage, *(replace(loaded, kind=kind) for kind in kinds))
    reason = "no rate was confirmed by 3 steps within 1 probe"
    max_rate = MaxRate(Estimate(None, reason=reason), (SLO.text,), "nothing")
    run = replace(RESULT, stages=passed, max_rate=max_rate, slo=(MET,), gates=(), exit=Exit(0))
    verdict = build_verdict(run)
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.sentence == (
        "No rate was decided within SLO (p95 latency < 50 ms). No rate was confirmed by 3 steps within 1 probe."
    )
    assert list(list_warnings(run, DEFAULT_GATING)) == [f"no rate was decided: {reason}"]
    failed_step = replace(loaded, meets_slo=False)
    assert build_verdict(replace(run, stages=(*run.stages, failed_step))).sentence.startswith("No tested rate")


def build_sweep_stage(clients: int, p95_ms: float, meets_slo: bool) -> Stage:
    stage = next(stage for stage in clients_run().result.stages if stage.kind == "closed")
    metrics = {
        **stage.metrics,
        "latency_ms": {"p95": Estimate(p95_ms)},
        "completed_per_s": {"value": Estimate(50.0 * clients)},
    }
    changes = {"concurrency": clients, "meets_slo": meets_slo, "metrics": metrics, "verdict": Verdict("VALID")}
    return msgspec.structs.replace(stage, tags={SWEEP_TAG: "yes"}, **changes)


def test_verdict_of_a_concurrency_sweep_has_the_max_passing_concurrency() -> None:
    stages = (build_sweep_stage(1, 20.0, True), build_sweep_stage(4, 30.0, True), build_sweep_stage(8, 61.0, False))
    run = msgspec.structs.replace(RESULT, max_rate=None, slo=(MET,), gates=(), stages=stages)
    assert build_verdict(run).sentence == (
        "Max throughput 200\u202freq/s at concurrency 4 within SLO (p95 latency < 50 ms). At concurrency 8, "
        "p95 latency was 61 ms (objective: p95 latency < 50 ms)."
    )
    inconclusive = build_verdict(msgspec.structs.replace(run, slo=(INCONCLUSIVE,), stages=stages[:1])).sentence
    assert inconclusive == (
        "Max throughput 50.0\u202freq/s at concurrency 1 within SLO (p95 latency < 50 ms). No higher concurrency was "
        "tested. The result is inconclusive for p95 latency < 50 ms."
    )


def test_verdict_of_a_run_with_only_a_warm_up_has_no_results() -> None:
    warm_up = tuple(stage for stage in RESULT.stages if stage.kind == "warmup")
    stopped = msgspec.structs.replace(
        RESULT, stages=warm_up, max_rate=None, exit=run_exit(130, "the user stopped the run")
    )
    assert build_verdict(stopped).sentence == "Stopped before anything was measured."
    invalid = msgspec.structs.replace(RESULT, stages=warm_up, verdict=Verdict("INVALID", ("load worker: lost",)))
    assert build_verdict(invalid).sentence == "Nothing was measured."


def test_verdict_with_max_rate_names_inconclusive_objectives() -> None:
    verdict = build_verdict(msgspec.structs.replace(RESULT, slo=(INCONCLUSIVE,), gates=()))
    assert verdict.sentence.startswith("Max rate 218\u202freq/s within SLO")
    assert verdict.sentence.endswith("The result is inconclusive for p95 latency < 50 ms.")


def test_verdict_sentence_consists_of_headline_and_detail() -> None:
    verdict = build_verdict(RESULT)
    assert verdict.headline == "Max rate 218\u202freq/s within SLO (p95 latency < 50 ms, error rate < 1 %)"
    assert verdict.detail.startswith("At 238")
    assert verdict.sentence == verdict.finding == f"{verdict.headline}. {verdict.detail}"


def test_failed_warning_gate_does_not_change_the_verdict() -> None:
    gates = (ObjectiveResult(GATE, Estimate(200.0), "FAIL"),)
    assert build_verdict(msgspec.structs.replace(RESULT, gates=gates)).outcome == "PASS"


def test_reasons_of_listed_checks_are_not_repeated() -> None:
    check = msgspec.structs.replace(RESULT.validity[0], id="late_sends", verdict="INVALID")
    verdict = Verdict("INVALID", ("late sends: 2 % (limit 1 %)", "the clock jumped"), ("the clock jumped",))
    assert build_verdict(msgspec.structs.replace(RESULT, validity=(check,), verdict=verdict)).reasons == (
        "the clock jumped",
    )


def test_reasons_are_failed_checks_or_exit_causes() -> None:
    assert build_verdict(run_without_load().result).reasons == ("the load generator could not be calibrated",)
    assert build_verdict(interrupted_run().result).reasons == ("the user stopped the run",)
    assert build_verdict(run_without_load().result).sentence == "Nothing was measured."


def test_cause_that_is_the_verdict_sentence_is_not_repeated() -> None:
    causes = ("no request to the target succeeded", "error rate < 1 % was not met in s: measured 100 %")
    verdict = build_verdict(msgspec.structs.replace(RESULT, max_rate=None, exit=run_exit(10, *causes)))
    assert verdict.sentence == "No request to the target succeeded."
    assert verdict.reasons == causes[1:]
