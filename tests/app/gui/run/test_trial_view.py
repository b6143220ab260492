from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from app.gui.formatting import with_unit
from app.gui.run.trial_view import (
    build_result_notice,
    build_result_rows,
    build_trial_error_notice,
    format_served_models,
    format_suggestion,
    round_up,
    suggest_slo,
)
from app.records.trial import ConnectionTest, Failure, Problem, TlsInfo

SUCCESSFUL = ConnectionTest(
    url="https://llm.example/v1", protocol="openai-chat", model="m", is_measurable=True, problem=None,
    summary="the response is as expected", hint=None, status=200, wants_stream=True,
    first_byte_ms=12.34, first_token_ms=180.0, total_ms=1200.0,
    tokens_out=64, bytes_received=4321, tls=TlsInfo(version="TLSv1.3", cipher="AES", subject="llm", issuer="CA",
                                                     valid_until="Jan 1 2030"),
    request_headers=(("Authorization", "Bearer env:KEY"),), response_headers=(("Server", "s"),), notes=("approximate",),
)  # fmt: skip


def test_result_rows_start_with_status_and_times_and_include_tls_and_headers() -> None:
    rows = dict(build_result_rows(SUCCESSFUL))
    assert list(rows)[:4] == ["Status", "Time to first byte", "Time to first token", "Total time"]
    assert rows["Time to first token"].startswith("180")
    assert rows["Certificate"] == "llm, issued by CA, valid until Jan 1 2030"
    assert rows["Sent: Authorization"] == "Bearer env:KEY"
    assert rows["Note"] == "approximate"


def test_missing_result_values_are_na() -> None:
    incomplete = msgspec.structs.replace(
        SUCCESSFUL, status=None, first_token_ms=None, tls=TlsInfo(version="T", cipher="C")
    )
    rows = dict(build_result_rows(incomplete))
    assert rows["Status"] == rows["Time to first token"] == "n/a"
    assert rows["Certificate"] == "not verified"
    assert "Time to first byte" not in dict(
        build_result_rows(msgspec.structs.replace(incomplete, first_byte_ms=None, total_ms=None))
    )


@pytest.mark.parametrize("problem", get_args(Problem))
def test_every_problem_has_a_severity_and_a_remedy(problem: Problem) -> None:
    trial = msgspec.structs.replace(SUCCESSFUL, problem=problem, summary="it went wrong", hint="Mend it.")
    notice = build_result_notice(trial)
    assert notice.summary.endswith(": it went wrong.")
    assert (notice.severity, notice.reason, notice.next_step) == ("warning", None, "Mend it.")
    aborting = build_result_notice(msgspec.structs.replace(trial, is_measurable=False))
    assert aborting.severity == "error"
    assert aborting.reason == "A run would stop before sending load."


def test_command_without_result_is_reported_with_its_error_output() -> None:
    failure = msgspec.json.encode(Failure(2, "the key is wrong", "Write it so."))
    notice = build_trial_error_notice(2, b"warning: x\nerror: the key is wrong\n" + failure + b"\n")
    assert (notice.summary, notice.next_step) == ("the key is wrong", "Write it so.")
    assert notice.details == "warning: x\nerror: the key is wrong\n"
    assert build_trial_error_notice(-9, b"").summary == "The connection test ended unexpectedly."


GENERATION = ["ttft_ms.p95 < 500", "tpot_ms.p95 < 50", "goodput_share >= 90%"]


def test_slo_limits_are_suggested_from_measured_times() -> None:
    suggestion = suggest_slo(SUCCESSFUL, GENERATION)
    assert suggestion is not None
    assert suggestion.objectives == ("ttft_ms.p95 < 400", "tpot_ms.p95 < 40", "goodput_share >= 90%")
    assert format_suggestion(suggestion, is_slo_edited=False) == (
        f"The test request took {with_unit('180', 'ms')} to the first token and {with_unit('16.2', 'ms')} per further "
        "token. "
        "Suggested SLO, with twice these times, rounded up: p95 TTFT < 400 ms, p95 TPOT < 40 ms, goodput share >= 90 %."
    )
    assert format_suggestion(suggestion, is_slo_edited=True).endswith("The SLO that you edited stays as it is.")
    latency_suggestion = suggest_slo(SUCCESSFUL, ["latency_ms.p95 < 50", "error_rate < 1%"])
    assert latency_suggestion is not None
    assert latency_suggestion.objectives == ("latency_ms.p95 < 2500", "error_rate < 1%")


@pytest.mark.parametrize(
    "changes",
    [{"problem": "timeout"}, {"first_token_ms": None, "total_ms": None}, {"first_token_ms": 0.0, "tokens_out": 1}],
)
def test_no_slo_is_suggested_without_measured_times(changes: dict[str, object]) -> None:
    assert suggest_slo(msgspec.structs.replace(SUCCESSFUL, **changes), GENERATION) is None


@pytest.mark.parametrize(
    ("value", "limit"), [(0.31, 0.4), (1.0, 1), (21, 25), (100, 100), (101, 150), (640, 800), (801, 1000)]
)
def test_suggested_limits_are_rounded_up(value: float, limit: float) -> None:
    assert round_up(value) == pytest.approx(limit)


def test_result_lists_the_models_of_the_server() -> None:
    single_model = msgspec.structs.replace(SUCCESSFUL, served_models=("llama",))
    assert (
        format_served_models(single_model) == "The server lists one model, llama, which is now the model of the target."
    )
    many_models = msgspec.structs.replace(SUCCESSFUL, served_models=tuple("abcdefgh"))
    assert format_served_models(many_models).endswith("now a, the first that the server lists. Others: b, c, d, e, f …")
