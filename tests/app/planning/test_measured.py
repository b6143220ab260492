from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from app.analysis.token_samples import pairs_of, sample_of_pairs
from app.analysis.trace_rows import busiest_rows
from app.planning.fleet_rate import shape_of
from app.planning.goals import goals_of
from app.planning.measured import measured_target, tokens_as_measured, with_measured_tokens
from app.records.curves import Rung
from app.records.result import Hardware
from app.records.service import RequestService, TokenService
from app.records.traffic import TokenLengths
from tests.fakes.offers import curve, question, target
from tests.fakes.services import measured_rungs

HERE = Hardware("here", vcpus=1)
LAW = RequestService(1, 0.01, 0.5)
LATENCIES = {"latency": {"p50": 2.1}, "ttft": {"p50": 0.1}, "tpot": {"p50": 0.02}}


def test_an_open_loops_latencies_are_fitted_by_rate() -> None:
    found = measured_target("run", HERE, curve(), measured_rungs(LAW, (0.2, 0.5, 0.8), requests=500))
    assert found.fit is not None
    assert isinstance(found.fit.laws[0].service, RequestService)
    assert (found.why_no_fit, found.lengths, found.is_assumed) == (None, None, False)
    assert found.curve == curve()


def closed(clients: int) -> Rung:
    """Of one slot: so many answers a second as one client sees, whoever else waits."""
    return Rung(None, clients, 100.0, 20.0, 2000, 0, {"latency": {"p50": 0.01 * clients}})


def test_a_closed_loops_are_fitted_by_clients() -> None:
    found = measured_target("run", HERE, curve(), [closed(clients) for clients in (1, 2, 4)])
    assert found.fit is not None
    assert found.fit.highest_per_s == 100.0


def token_rung(clients: int) -> Rung:
    return Rung(None, clients, clients / 2.1, 300.0, int(300 * clients / 2.1), 0, LATENCIES, 300.0, 101.0)


def test_times_per_token_are_fitted_as_tokens_with_the_lengths_they_had() -> None:
    found = measured_target("run", HERE, curve(), [token_rung(clients) for clients in (1, 2, 4)])
    assert found.fit is not None
    assert isinstance(found.fit.laws[0].service, TokenService)
    assert found.lengths == (300.0, 101.0)


def test_what_cannot_be_fitted_says_why() -> None:
    found = measured_target("run", HERE, curve(), measured_rungs(LAW, (0.5,), requests=100))
    assert found.fit is None
    assert found.why_no_fit == "a service model needs percentiles at 3 rates, and there are 1"


def test_requests_are_as_long_as_measured_unless_the_traffic_says() -> None:
    plain = question(target(), target(lengths=(300.0, 101.0)))
    assert with_measured_tokens(plain).traffic.tokens == (TokenLengths(1.0, 300.0, 101.0),)
    said = replace(plain, traffic=replace(plain.traffic, tokens=tokens_as_measured((9.0, 9.0))))
    assert with_measured_tokens(said) is said
    assert with_measured_tokens(question()).traffic.tokens == ()


def test_traffic_of_which_means_are_given_is_as_uneven_as_what_was_measured() -> None:
    sample = sample_of_pairs(np.array([[100, 20], [300, 10]]))
    plain = question(target(lengths=(200.0, 15.0), token_sample=sample))
    assert with_measured_tokens(plain).traffic.token_sample == sample
    longer = replace(plain, traffic=replace(plain.traffic, tokens=tokens_as_measured((400.0, 15.0))))
    found = with_measured_tokens(longer).traffic.token_sample
    assert found is not None
    assert pairs_of(found).tolist() == [[200, 20], [600, 10]]
    mixed = replace(plain, traffic=replace(plain.traffic, tokens=tokens_as_measured((9.0, 9.0)) * 2))
    assert with_measured_tokens(mixed) is mixed, "two kinds of requests are a distribution of their own"


def test_requests_are_as_long_as_those_of_the_trace() -> None:
    pairs = np.array([[100, 20], [3000, 10], [50, 400]], dtype=np.int32)
    rows = busiest_rows(np.array([0.0, 1.0, 3.0]), (pairs[:, 0], pairs[:, 1]))
    plain = question(target(lengths=(200.0, 15.0), token_sample=sample_of_pairs(pairs[:1].astype(np.int64))))
    traced = replace(plain, traffic=replace(plain.traffic, rows=rows, tokens=tokens_as_measured((1050.0, 143.3))))
    found = shape_of(with_measured_tokens(traced).traffic, goals_of(traced.slo), "random")
    assert [list(pair) for pair in found.lengths] == pairs.tolist()
