from __future__ import annotations

import msgspec

from app.records.result import Result
from app.reporting.local_verdict import local_sentence
from app.reporting.verdict import verdict_of
from tests.fakes.local_runs import local_run, one_variant, only_failed, strayed
from tests.fakes.results import ended
from tests.fakes.searched_runs import hopeless_run, searched_run

_RESULT = local_run().result


def _without_best() -> Result:
    assert _RESULT.local is not None
    local = msgspec.structs.replace(_RESULT.local, best=None, best_reason="missed")
    missed = msgspec.structs.replace(_RESULT.slo[0], judgement="FAIL", stage=_RESULT.stages[3].name)
    return msgspec.structs.replace(
        _RESULT, local=local, slo=(missed,), exit=ended(10, "service_ms.p99 < 8 failed in single-stream")
    )


def test_the_best_variant_stands_first_and_the_others_are_counted() -> None:
    assert verdict_of(_RESULT).sentence == (
        "Most throughput inside service_ms.p99 < 8: cpu int8-static, batch 4, 1,600/s (single-stream). "
        "5 variants measured, 1 ended early, 1 left out."
    )


def test_where_none_met_the_slo_the_nearest_is_named_with_what_it_missed() -> None:
    found = verdict_of(_without_best())
    assert found.outcome == "FAIL"
    assert found.sentence.startswith(
        "No variant met every objective; cpu as-is, batch 16 came nearest, and missed service_ms.p99 < 8 with 23.6"
    )
    assert found.reasons == ("service_ms.p99 < 8 failed in single-stream",)


def test_a_variant_alone_carries_what_it_carries() -> None:
    assert verdict_of(one_variant().result).sentence == (
        "digits cpu as-is, batch 1 carries 500/s (single-stream). 1 variant measured; no objective was set."
    )


def test_the_most_arrivals_lead_where_they_were_searched() -> None:
    assert verdict_of(searched_run().result).sentence == (
        "digits cpu int8-static, batch 4 carries 400\u202fcalls/s as they arrive (4 rows each: 1,600/s) inside "
        "latency_ms.p95 < 9. 1 variant measured."
    )
    assert verdict_of(searched_run(alone=False).result).sentence.startswith(
        "Most arrivals inside latency_ms.p95 < 9: int8-static, batch 4, 400\u202fcalls/s as they arrive"
    )


def test_arrivals_that_were_never_begun_are_what_was_missed() -> None:
    assert "9,000 arrivals were never begun" in verdict_of(hopeless_run().result).sentence


def test_a_run_without_a_measured_variant_has_no_sentence_of_its_own() -> None:
    assert local_sentence(only_failed().result) is None
    assert verdict_of(only_failed().result).sentence == "Nothing was measured."


def test_an_invalid_variant_does_not_hide_one_that_can_be_relied_on() -> None:
    found = verdict_of(strayed().result)
    assert found.outcome == "INVALID"
    assert found.sentence.startswith("What is marked INVALID is not to be relied on. Most throughput: cpu,")


def test_what_the_interval_does_not_settle_is_added() -> None:
    judged = msgspec.structs.replace(_RESULT.slo[0], judgement="INCONCLUSIVE")
    sentence = verdict_of(msgspec.structs.replace(_RESULT, slo=(judged,))).sentence
    assert sentence.endswith("Not settled by its interval: service_ms.p99 < 8.")
