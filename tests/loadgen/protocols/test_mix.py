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


def test_the_class_of_each_arrival_is_drawn_by_weight_and_each_class_sends_its_requests_in_order() -> None:
    built = mix(("a", 7, chat("m")), ("b", 2, chat("lora", extra_body=b'{"priority": 5}')), ("c", 1, chat("m", seed=3)))
    classes, order = built.classes, built.request_indices
    assert classes is not None
    assert order is not None
    assert classes.names == ("a", "b", "c")
    assert classes.first_requests == (0, 4, 8)
    assert list(built.preflight_requests) == [0, 4, 8]
    assert b'"lora"' in built.preflight_requests[4]
    counts = Counter(classes.indices[index] for index in order)
    assert [counts[number] / len(order) for number in range(3)] == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert [index for index in order if classes.indices[index] == 1][:5] == [4, 5, 6, 7, 4]
    runs = Counter(classes.indices[one] == classes.indices[other] for one, other in itertools.pairwise(order))
    assert runs[True] / len(order) == pytest.approx(0.7**2 + 0.2**2 + 0.1**2, abs=0.02), "as independent draws have it"
    body = json.loads(built.requests[4].partition(b"\r\n\r\n")[2])
    assert (body["model"], body["priority"]) == ("lora", 5)
    assert list(built.max_output_tokens or ()) == [3] * 12
    assert built.distinct_prompts == 12
    assert (built.sessions, built.live_sessions) == (None, None)


def test_the_order_depends_on_the_seed_alone() -> None:
    classes = ("a", 1, chat("m")), ("b", 1, chat("n"))
    order = mix(*classes).request_indices
    assert mix(*classes).request_indices == order
    assert mix(*classes, seed=2).request_indices != order


def test_each_request_of_a_large_class_is_sent_although_its_share_is_small() -> None:
    rare = SyntheticPrompts(FixedLength(1), unique=900)
    built = mix(("common", 99, chat("m")), ("rare", 1, chat("m", rare)))
    assert built.classes is not None
    assert built.request_indices is not None
    assert len(set(built.request_indices)) > 880


def test_a_class_with_sessions_sends_them_beside_single_requests() -> None:
    sessions = mix(("single", 1, chat("m")), ("session", 1, chat("m", SESSIONS))).sessions
    assert sessions is not None
    assert list(sessions.next_request_indices) == [None] * 4 + [5, 6, None, 8, 9, None]
    assert sessions.think_times_ns[4:6] == [2_000_000_000] * 2


def test_a_live_class_is_sent_beside_prepared_classes() -> None:
    built = mix(("single", 1, chat("m")), ("session", 1, chat("m", SESSIONS)), ("live", 1, chat("m", LIVE)))
    live = built.live_sessions
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
    assert (first.data, later.data) == (built.requests[7], built.requests[9])
    own = live.build_first(12, "s")
    assert own.data == built.requests[12]
    answered = live.build_next(12, 1, [(own, CollectedResponse(1, 1, 4, "said"))])
    assert b'{"role":"assistant","content":"said"}' in answered.data
    built.requests[:] = [request.replace(b"Bearer old", b"Bearer renewed") for request in built.requests]
    for index, request in ((7, later), (12, answered)):
        assert b"Bearer renewed" in live.renew(index, request), "the key was renewed after the request was built"


def test_each_class_checks_its_own_responses() -> None:
    strict = HttpWorkload(path="/strict", expect=Expectation(statuses=(201,)))
    built = mix(("any", 1, HttpWorkload(path="/any")), ("strict", 1, strict))
    assert built.classes is not None
    assert built.classes.labels == ("GET http://h:1/any", "GET http://h:1/strict")
    exchanges = [Exchange(0, index, 0, b"", lambda _: None, status=200, body=b"{}") for index in (0, 1)]
    assert [built.check(exchange).error for exchange in exchanges] == [None, "bad-output"]


def test_a_class_whose_requests_cannot_be_built_is_named() -> None:
    with pytest.raises(WorkloadError, match="class broken: extra_body must be a JSON object"):
        mix(("fine", 1, chat("m")), ("broken", 1, chat("m", extra_body=b"[]")))


def test_what_is_noted_of_all_classes_is_noted_once() -> None:
    built = mix(("a", 1, chat("m")), ("b", 1, chat("m")))
    assert built.notes == mix(("a", 1, chat("m"))).notes
    assert len(built.notes) == 1
