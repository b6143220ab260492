from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.rows import read_rows
from app.analysis.stream_checks import stream_checks
from app.records.checks import CheckId
from app.records.result import Check, Trust
from app.records.stage import StageFacts
from tests.fakes.queues import stage_facts
from tests.fakes.streams import Answer, stream_rows

FACTS = replace(stage_facts(10, 10), lengths_asked=True)


def checks(frame: pd.DataFrame, facts: StageFacts = FACTS, *sending: Check) -> dict[str, Check]:
    return {one.id: one for one in stream_checks(read_rows(frame), facts, sending)}


def coalesced(share: float, *sending: Check) -> Check:
    """One answer of 1,001 chunks, so many of them read with the one before."""
    gaps = np.where(np.arange(1_000) < share * 1_000, 0.0, 1.0)
    return checks(stream_rows([Answer(chunks_ms=(5.0, *(5.0 + np.cumsum(gaps))))]), FACTS, *sending)["coalesced_chunks"]


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "VALID"), (0.1, "VALID"), (0.101, "WARN"), (1.0, "WARN")])
def test_chunks_read_together_are_a_doubt_of_the_gaps_between_them(share: float, verdict: str) -> None:
    found = coalesced(share)
    assert found.verdict == verdict
    assert found.value == pytest.approx(share)


def test_a_chunk_of_one_answer_does_not_follow_that_of_another() -> None:
    alike = Answer(chunks_ms=(5.0, 6.0))
    assert checks(stream_rows([alike, alike, replace(alike, error="truncated")]))["coalesced_chunks"].value == 0.0


def load(name: CheckId, value: float | None, verdict: Trust) -> Check:
    return Check(name, value, 0.7, "share", verdict)


@pytest.mark.parametrize(
    ("sending", "whose"),
    [
        (load("generator_cpu", 0.8, "WARN"), "The load worker was busy"),
        (load("generator_ceiling", 0.9, "INVALID"), "The load worker was busy"),
        (load("generator_core_wait", 0.2, "INVALID"), "The load worker was busy, or had no core"),
        (load("generator_ceiling", 0.1, "VALID"), "The server, or a proxy"),
        (load("generator_ceiling", None, "WARN"), "The server, or a proxy"),
        (load("late_sends", 0.5, "INVALID"), "The server, or a proxy"),
    ],
)
def test_whose_doing_it_was_is_told_by_how_busy_the_worker_was(sending: Check, whose: str) -> None:
    assert str(coalesced(0.5, sending).hint).startswith(whose)


def answered(tokens: list[int | None], asked: int | None, source: str = "server") -> pd.DataFrame:
    answers = [Answer(chunks_ms=(1, 2), tokens_out=one, tokens_from=source) for one in tokens]
    return stream_rows(answers).assign(tokens_asked=asked)


@pytest.mark.parametrize(
    ("tokens", "verdict"),
    [([100, 100, 100], "VALID"), ([10, 90, 100], "VALID"), ([89, 89, 100], "WARN"), ([120, 130, 140], "VALID")],
)
def test_the_median_answer_has_nine_tenths_of_what_was_asked(tokens: list[int | None], verdict: str) -> None:
    found = checks(answered(tokens, 100))["output_lengths"]
    assert (found.value, found.verdict) == (sorted(tokens)[1] / 100, verdict)  # type: ignore[operator,type-var]


def test_short_answers_are_told_with_what_makes_them_long() -> None:
    hint = str(checks(answered([41], 100))["output_lengths"].hint)
    assert "41 % of the tokens asked for" in hint
    assert "ignore_eos" in hint


def test_lengths_that_nobody_asked_for_or_counted_are_not_judged() -> None:
    assert "output_lengths" not in checks(answered([41], None))
    assert "output_lengths" not in checks(answered([None], 100))
    assert "output_lengths" not in checks(answered([41], 100, source="chunks"))
    assert "output_lengths" not in checks(answered([41], 100), replace(FACTS, lengths_asked=False))


def test_nothing_is_told_of_answers_without_tokens() -> None:
    assert checks(stream_rows([Answer(end_ms=5.0)])) == {}
    assert set(checks(stream_rows([Answer(chunks_ms=(5.0,))]))) == set()
