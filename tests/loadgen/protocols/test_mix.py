"""The mix of several classes of requests: which requests are sent, in which order, and how sessions work in it."""

import itertools
import json
from collections import Counter
from typing import Any

import pytest

from loadgen.payloads.sessions import SessionOutcome, SessionState
from loadgen.protocols.http import build_http
from loadgen.protocols.mix import build_mix
from loadgen.protocols.openai import build_openai
from loadgen.protocols.prepared import CollectedResponse, PreparedWorkload, WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange
from loadgen.workloads import (
    Expectation,
    FixedDelay,
    FixedLength,
    HttpWorkload,
    LiveHistory,
    MixedWorkload,
    OpenAiWorkload,
    Prompts,
    SyntheticPrompts,
    WorkloadClass,
)

URL = "http://h:1/v1"
FEW = SyntheticPrompts(FixedLength(5), FixedLength(3), unique=4)
SESSIONS = SyntheticPrompts(FixedLength(5), FixedLength(3), turns=FixedLength(3), think_time=FixedDelay(2), unique=2)
LIVE = SyntheticPrompts(
    FixedLength(5), FixedLength(3), turns=FixedLength(2), live=LiveHistory(context_tokens=50), unique=2
)
ENDPOINT = Endpoint((URL,), headers=(("Authorization", "Bearer old"),))


def mix(*classes: tuple[str, float, OpenAiWorkload | HttpWorkload], seed: int = 1) -> PreparedWorkload:
    def prepare(workload: OpenAiWorkload | HttpWorkload) -> PreparedWorkload:
        if isinstance(workload, HttpWorkload):
            return build_http(workload, ENDPOINT, parse_url(URL))
        return build_openai(workload, ENDPOINT, parse_url(URL))

    return build_mix(MixedWorkload(tuple(WorkloadClass(*entry) for entry in classes), seed), prepare)


def chat(model: str, prompts: Prompts = FEW, **more: Any) -> OpenAiWorkload:
    return OpenAiWorkload("chat", model, prompts, **more)


def test_class_of_arrival_is_drawn_by_weight_and_its_requests_are_in_order() -> None:
    prepared = mix(
        ("a", 7, chat("m")), ("b", 2, chat("lora", extra_body=b'{"priority": 5}')), ("c", 1, chat("m", seed=3))
    )
    classes, order = prepared.classes, prepared.request_indices
    assert classes is not None
    assert order is not None
    assert classes.names == ("a", "b", "c")
    assert classes.first_requests == (0, 4, 8)
    assert list(prepared.preflight_requests) == [0, 4, 8]
    assert b'"lora"' in prepared.preflight_requests[4]
    counts = Counter(classes.indices[index] for index in order)
    assert [counts[number] / len(order) for number in range(3)] == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert [index for index in order if classes.indices[index] == 1][:5] == [4, 5, 6, 7, 4]
    runs = Counter(classes.indices[first] == classes.indices[second] for first, second in itertools.pairwise(order))
    assert runs[True] / len(order) == pytest.approx(0.7**2 + 0.2**2 + 0.1**2, abs=0.02), "the draws must be independent"
    body = json.loads(prepared.requests[4].partition(b"\r\n\r\n")[2])
    assert (body["model"], body["priority"]) == ("lora", 5)
    assert list(prepared.max_output_tokens or ()) == [3] * 12
    assert prepared.distinct_prompts == 12
    assert (prepared.sessions, prepared.live_sessions) == (None, None)


def test_request_order_is_reproducible_with_seed() -> None:
    classes = ("a", 1, chat("m")), ("b", 1, chat("n"))
    order = mix(*classes).request_indices
    assert mix(*classes).request_indices == order
    assert mix(*classes, seed=2).request_indices != order


def test_nearly_all_requests_of_rare_class_are_sent() -> None:
    rare = SyntheticPrompts(FixedLength(1), unique=900)
    prepared = mix(("common", 99, chat("m")), ("rare", 1, chat("m", rare)))
    assert prepared.classes is not None
    assert prepared.request_indices is not None
    assert len(set(prepared.request_indices)) > 880


def test_session_class_is_mixed_with_single_requests() -> None:
    sessions = mix(("single", 1, chat("m")), ("session", 1, chat("m", SESSIONS))).sessions
    assert sessions is not None
    assert list(sessions.next_request_indices) == [None] * 4 + [5, 6, None, 8, 9, None]
    assert sessions.think_times_ns[4:6] == [2_000_000_000] * 2


def test_live_session_class_is_mixed_with_prepared_classes() -> None:
    prepared = mix(("single", 1, chat("m")), ("session", 1, chat("m", SESSIONS)), ("live", 1, chat("m", LIVE)))
    live = prepared.live_sessions
    assert live is not None
    assert [live.has_live_history(first) for first in (0, 4, 10)] == [False, False, True]
    assert [live.get_context_limit(first) for first in (0, 4, 10)] == [None, None, 50]
    assert len(live.get_graph(3).requests) == 1
    graph = live.get_graph(7)
    assert [request.delay_ns for request in graph.requests] == [0, 2_000_000_000, 2_000_000_000]
    state = SessionState(graph)
    assert (state.on_success(0), state.on_success(1), state.on_success(2)) == ([1], [2], [])
    assert state.outcome is SessionOutcome.COMPLETED
    first = live.build_first(7, "s")
    response = live.collect(7, Exchange(0, 7, 0, b"", lambda _: None), b"whatever")
    assert response is not None
    later = live.build_next(7, 2, [(first, response)])
    assert (first.data, later.data) == (prepared.requests[7], prepared.requests[9])
    live_first = live.build_first(12, "s")
    assert live_first.data == prepared.requests[12]
    live_second = live.build_next(12, 1, [(live_first, CollectedResponse(1, 1, 4, "said"))])
    assert b'{"role":"assistant","content":"said"}' in live_second.data
    prepared.requests[:] = [request.replace(b"Bearer old", b"Bearer renewed") for request in prepared.requests]
    for index, request in ((7, later), (12, live_second)):
        assert b"Bearer renewed" in live.renew(index, request), "the key was renewed after the request was built"


def test_each_workload_class_checks_its_own_responses() -> None:
    strict = HttpWorkload(path="/strict", expect=Expectation(statuses=(201,)))
    prepared = mix(("any", 1, HttpWorkload(path="/any")), ("strict", 1, strict))
    assert prepared.classes is not None
    assert prepared.classes.labels == ("GET http://h:1/any", "GET http://h:1/strict")
    exchanges = [Exchange(0, index, 0, b"", lambda _: None, status=200, body=b"{}") for index in (0, 1)]
    assert [prepared.check(exchange).error for exchange in exchanges] == [None, "bad-output"]


def test_workload_class_with_invalid_request_is_named_in_error() -> None:
    with pytest.raises(WorkloadError, match="class broken: extra_body must be a JSON object"):
        mix(("fine", 1, chat("m")), ("broken", 1, chat("m", extra_body=b"[]")))


def test_notes_of_workload_classes_are_deduplicated() -> None:
    prepared = mix(("a", 1, chat("m")), ("b", 1, chat("m")))
    assert prepared.notes == mix(("a", 1, chat("m"))).notes
    assert len(prepared.notes) == 1
