from __future__ import annotations

from collections import Counter

import pytest

from app.session.notes import notes_of
from loadgen.workloads import FixedLength, HttpWorkload, OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload


def test_each_is_told_once_in_the_order_it_became_known() -> None:
    told = ("through a proxy", "lengths are approximate", "through a proxy")
    assert notes_of(HttpWorkload(), told, Counter(), ["cooler on"]) == (
        "through a proxy",
        "lengths are approximate",
        "Noted during the run: cooler on",
    )


def test_chunks_that_stand_for_tokens_are_told_with_their_share() -> None:
    (note,) = notes_of(HttpWorkload(), (), Counter(server=1, chunks=3), ())
    assert note.startswith("Output tokens of 75 % of the answers are chunks")
    assert notes_of(HttpWorkload(), (), Counter(server=9), ()) == ()
    assert "tokenizer" in notes_of(HttpWorkload(), (), Counter(tokenizer=2), ())[0]


CHAT = OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(5)))


@pytest.mark.parametrize(
    ("workload", "word"),
    [
        (CHAT, None),
        (OipWorkload("m", transport="grpc"), "gRPC"),
        (OipWorkload("m"), None),
        (OpenAiWorkload("embeddings", "m", SyntheticPrompts(FixedLength(5))), None),
    ],
)
def test_what_costs_more_than_the_calibrated_request_is_told(workload: Workload, word: str | None) -> None:
    notes = notes_of(workload, (), Counter(), ())
    assert bool(notes) is (word is not None)
    assert word is None or word in notes[0]
