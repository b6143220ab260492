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

ANSWERED = ConnectionTest(
    url="https://llm.example/v1", protocol="openai-chat", model="m", is_measurable=True, problem=None,
    summary="the response is as expected", hint=None, status=200, wants_stream=True,
    first_byte_ms=12.34, first_token_ms=180.0, total_ms=1200.0,
    tokens_out=64, bytes_received=4321, tls=TlsInfo(version="TLSv1.3", cipher="AES", subject="llm", issuer="CA",
                                                     valid_until="Jan 1 2030"),
    request_headers=(("Authorization", "Bearer env:KEY"),), response_headers=(("Server", "s"),), notes=("approximate",),
)  # fmt: skip


def test_times_come_first_and_nothing_is_left_out() -> None:
    rows = dict(build_result_rows(ANSWERED))
    assert list(rows)[:4] == ["Status", "Time to first byte", "Time to first token", "Total time"]
    assert rows["Time to first token"].startswith("180")
    assert rows["Certificate"] == "llm, issued by CA, valid until Jan 1 2030"
    assert rows["Sent: Authorization"] == "Bearer env:KEY"
    assert rows["Note"] == "approximate"


def test_what_is_not_known_is_not_available() -> None:
    bare = msgspec.structs.replace(ANSWERED, status=None, first_token_ms=None, tls=TlsInfo(version="T", cipher="C"))
    rows = dict(build_result_rows(bare))
    assert rows["Status"] == rows["Time to first token"] == "n/a"
    assert rows["Certificate"] == "not verified"
    assert "Time to first byte" not in dict(
        build_result_rows(msgspec.structs.replace(bare, first_byte_ms=None, total_ms=None))
    )


@pytest.mark.parametrize("problem", get_args(Problem))
def test_every_problem_has_a_title_and_its_remedy(problem: Problem) -> None:
    trial = msgspec.structs.replace(ANSWERED, problem=problem, summary="it went wrong", hint="Mend it.")
    notice = build_result_notice(trial)
    assert notice.summary.endswith(": it went wrong.")
    assert (notice.severity, notice.reason, notice.next_step) == ("warning", None, "Mend it.")
    ended = build_result_notice(msgspec.structs.replace(trial, is_measurable=False))
    assert ended.severity == "error"
    assert ended.reason == "A run would stop before sending load."


def test_a_command_that_reported_no_trial_is_quoted() -> None:
    failure = msgspec.json.encode(Failure(2, "the key is wrong", "Write it so."))
    notice = build_trial_error_notice(2, b"warning: x\nerror: the key is wrong\n" + failure + b"\n")
    assert (notice.summary, notice.next_step) == ("the key is wrong", "Write it so.")
    assert notice.details == "warning: x\nerror: the key is wrong\n"
    assert build_trial_error_notice(-9, b"").summary == "The connection test ended unexpectedly."


GENERATION = ["ttft_ms.p95 < 500", "tpot_ms.p95 < 50", "goodput_share >= 90%"]


def test_limits_are_suggested_from_what_was_measured() -> None:
    suggestion = suggest_slo(ANSWERED, GENERATION)
    assert suggestion is not None
    assert suggestion.objectives == ("ttft_ms.p95 < 400", "tpot_ms.p95 < 40", "goodput_share >= 90%")
    assert format_suggestion(suggestion, is_slo_edited=False) == (
        f"The test request took {with_unit('180', 'ms')} to the first token and {with_unit('16.2', 'ms')} per further "
        "token. "
        "Suggested SLO, with twice these times, rounded up: p95 TTFT < 400 ms, p95 TPOT < 40 ms, goodput share >= 90 %."
    )
    assert format_suggestion(suggestion, is_slo_edited=True).endswith("The SLO that you edited stays as it is.")
    whole = suggest_slo(ANSWERED, ["latency_ms.p95 < 50", "error_rate < 1%"])
    assert whole is not None
    assert whole.objectives == ("latency_ms.p95 < 2500", "error_rate < 1%")


@pytest.mark.parametrize(
    "changes",
    [{"problem": "timeout"}, {"first_token_ms": None, "total_ms": None}, {"first_token_ms": 0.0, "tokens_out": 1}],
)
def test_nothing_is_suggested_where_nothing_was_measured(changes: dict[str, object]) -> None:
    assert suggest_slo(msgspec.structs.replace(ANSWERED, **changes), GENERATION) is None


@pytest.mark.parametrize(
    ("value", "limit"), [(0.31, 0.4), (1.0, 1), (21, 25), (100, 100), (101, 150), (640, 800), (801, 1000)]
)
def test_limits_are_round(value: float, limit: float) -> None:
    assert round_up(value) == pytest.approx(limit)


def test_the_models_of_the_server_are_stated() -> None:
    one = msgspec.structs.replace(ANSWERED, served_models=("llama",))
    assert format_served_models(one) == "The server lists one model, llama, which is now the model of the target."
    many = msgspec.structs.replace(ANSWERED, served_models=tuple("abcdefgh"))
    assert format_served_models(many).endswith("now a, the first that the server lists. Others: b, c, d, e, f …")
