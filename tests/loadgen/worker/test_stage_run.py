import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from loadgen.process import LoadError, LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, KeyFile, TraceArrivals
from loadgen.reference.script import OpenAiMock, ReplyMode, ServiceModel
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.workloads import (
    Expectation,
    ExponentialDelay,
    FixedLength,
    HttpWorkload,
    JsonFormat,
    LiveHistory,
    OpenAiWorkload,
    RequestOptions,
    SyntheticPrompts,
)
from tests.fakes.played import Played, plan

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


@pytest.mark.timing
def test_clients_take_turns_and_no_more_ask_at_once_than_there_are(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.05)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        played = Played(load, plan(arrivals=ClosedArrivals(4)))
        connections = server.connection_count
    rows = played.rows.sort_values("index")
    assert played.started[0].scheduled is None
    assert 4 * 1 / 0.05 * 0.8 < len(rows) <= 4 * 1 / 0.05
    assert connections == 4
    at_start = rows["scheduled_ns"] == played.ended.start_ns
    assert at_start.sum() == 4
    assert rows["scheduled_ns"][~at_start].isin(rows["end_ns"]).all()
    assert played.ended.rates == ()


@pytest.mark.timing
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_end_reports_how_long_the_sender_had_no_core(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        waits = [Played(load, plan(rate=500, duration=0.3)).ended.cpu_wait_s for _ in range(2)]
    assert all(waited_s is not None and 0 <= waited_s < 10 for waited_s in waits)
    assert any(waits), "a thousand wakes, some of which the server that it shares the machine with put off"


def test_the_next_stage_sends_the_prompts_that_the_server_has_not_seen(load: LoadProcess) -> None:
    """A server with a prefix cache would answer the same prompts faster in each later stage."""
    with ScriptedServer(Script()) as server:
        prompts = tuple(f"prompt {number}".encode() for number in range(10))
        load.configure(Endpoint((server.url,)), HttpWorkload("POST", bodies=prompts))
        first = plan(rate=100, duration=0.05)
        played = Played(load, first)
        Played(load, msgspec.structs.replace(first, first_request=len(played.rows)))
        received = [request.rpartition(b"\r\n\r\n")[2] for request in server.requests]
    assert sorted(received) == sorted(prompts)


COUNTS = {"responses": 10, "calling_responses": 0, "tool_calls": 0, "checked": 10}


@pytest.mark.parametrize(("text", "error"), [('{"answer": 1}', None), ("no JSON", "bad-output")])
def test_responses_are_checked_against_a_json_schema_before_their_rows_are_sent(
    load: LoadProcess, text: str, error: str | None
) -> None:
    schema = JsonFormat(b'{"required": ["answer"]}', check=True)
    prompts = SyntheticPrompts(FixedLength(3), unique=2, options=RequestOptions(response_format=schema))
    reply = Reply(body=msgspec.json.encode({"choices": [{"message": {"content": text}}]}))
    with ScriptedServer(Script(reply)) as server:
        load.configure(Endpoint((server.url,)), OpenAiWorkload("chat", "m", prompts, stream=error is not None))
        played = Played(load, plan(rate=20, duration=0.5))
    assert played.rows["error"].isna().all() if error is None else set(played.rows["error"]) == {error}
    assert played.ended.outputs == {**COUNTS, "valid": 10 if error is None else 0}
    assert [failure.error for failure in played.ended.first_errors] == ([] if error is None else [error])
    if error is not None:
        assert "the response is not JSON" in played.ended.first_errors[0].text
        assert (played.progress[-1].completed, played.progress[-1].failed > 0) == (0, True)


def test_the_lead_in_is_sent_without_a_break_before_the_start(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        played = Played(load, plan(rate=100, duration=0.5, lead_in_s=0.5))
    offsets = np.sort(played.rows["scheduled_ns"]) - played.ended.start_ns
    assert offsets.tolist() == list(range(-500_000_000, 500_000_000, 10_000_000))
    assert played.ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert (played.rows["sent_ns"] >= played.rows["scheduled_ns"]).all()


@pytest.mark.timing
def test_the_rate_of_a_running_stage_can_be_changed_from_any_thread(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        change = threading.Timer(0.5, load.change_rate, (400.0,))
        played = Played(load, plan(rate=20, duration=1, process="poisson"), on_started=change.start)
    (start, before, after, end) = played.ended.rates
    assert (start, end) == ((0.0, 20.0), (1.0, 400.0))
    assert before[0] == after[0]
    offsets_s = (np.sort(played.rows["scheduled_ns"]) - played.ended.start_ns) / 1e9
    expected = 400 * (1 - after[0])
    assert (offsets_s > after[0]).sum() == pytest.approx(expected, abs=4 * expected**0.5)
    assert played.ended.scheduled == len(played.rows)


@pytest.mark.timing
def test_a_rate_changed_in_the_lead_in_holds_for_the_whole_measured_part(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        change = threading.Timer(0.3, load.change_rate, (100.0,))
        played = Played(load, plan(rate=10, duration=0.5, lead_in_s=0.8), on_started=change.start)
    assert played.ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert (played.rows["scheduled_ns"] >= played.ended.start_ns).sum() == pytest.approx(50, abs=1)


def test_a_changed_rate_must_be_one(load: LoadProcess) -> None:
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate"):
            load.change_rate(rate)


def test_a_trace_is_played_as_it_was_recorded(load: LoadProcess) -> None:
    recorded = np.array([0, 100_000_000, 100_000_000, 250_000_000], "<i8")
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        played = Played(load, plan(duration=0.5, arrivals=TraceArrivals(recorded.tobytes())))
    offsets = np.sort(played.rows["scheduled_ns"]) - played.ended.start_ns
    assert offsets.tolist() == recorded.tolist()
    assert played.ended.rates == ()


@pytest.mark.timing
def test_a_key_is_read_from_its_file_and_read_again_after_a_401(load: LoadProcess, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    with ScriptedServer(Script(Reply(401))) as server:
        endpoint = Endpoint((server.url,), key_files=(KeyFile("Authorization", str(key), prefix="Bearer "),))
        load.configure(endpoint, HttpWorkload(method="POST", bodies=(b"Authorization: Bearer first\r\n",)))
        renew = threading.Timer(0.3, key.write_text, ("second\n",))
        played = Played(load, plan(rate=50, duration=2), on_started=renew.start)
        requests = server.requests
    with_key = [request.partition(b"\r\n\r\n")[0].partition(b"Authorization: ")[2] for request in requests]
    assert with_key[0].startswith(b"Bearer first")
    assert with_key[-1].startswith(b"Bearer second")
    assert all(request.endswith(b"\r\n\r\nAuthorization: Bearer first\r\n") for request in requests)
    assert set(played.rows["error"]) == {"http-4xx"}


@pytest.mark.parametrize("content", [None, "", "two\nlines", "x" * 70_000])
def test_a_key_that_is_none_is_reported_without_showing_it(tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    with LoadProcess() as load:
        load.configure(Endpoint(("http://127.0.0.1:1",), key_files=(KeyFile("X-Key", str(key)),)), HttpWorkload())
        with pytest.raises(LoadError, match="key") as failed:
            load.preflight()
    assert failed.value.is_workload_invalid
    assert "two" not in str(failed.value)


@pytest.mark.timing
@pytest.mark.parametrize(("stream", "live"), [(True, None), (False, None), (True, LiveHistory())])
def test_turns_of_a_session_are_streamed_and_follow_their_answers(
    load: LoadProcess, stream: bool, live: LiveHistory | None
) -> None:
    prompts = SyntheticPrompts(
        FixedLength(20), FixedLength(4), turns=FixedLength(3), think_time=ExponentialDelay(0.02), live=live, unique=50
    )
    face = OpenAiMock(ServiceModel(delay_s=0.02, tokens_per_s=200))
    with ScriptedServer(Script(protocols=(face,))) as server:
        load.configure(Endpoint((f"{server.url}/v1",)), OpenAiWorkload("chat", "scripted", prompts, stream=stream))
        assert load.preflight().error is None
        before = len(server.requests)
        played = Played(load, plan(rate=40, duration=1))
        bodies = sorted(len(request) for request in server.requests[before:])
    rows = played.rows
    assert rows["error"].isna().all()
    assert played.ended.scheduled is None
    # 40 sessions of three turns, of which some do not come to their end
    assert 90 < len(rows) <= 120
    assert bodies[-1] > 2 * bodies[0]
    assert set(rows["tokens_out"]) == {4}
    assert rows["first_token_ns"].notna().all() == stream
    assert sorted(rows["index"]) == list(range(len(rows)))
    turns = rows.sort_values("sent_ns").groupby("session")["turn"].agg(list)
    assert sorted(turns.index) == list(range(40))
    assert all(of_one == list(range(len(of_one))) for of_one in turns)
    said = [request.count(b'"tok tok tok tok "') for request in server.requests[before:]]
    assert max(said) == (0 if live is None else 2)
    assert (played.ended.live_sessions is None) == (live is None)
    if played.ended.live_sessions is not None:
        assert played.ended.live_sessions.started == 40


def test_what_the_first_answer_shows_of_the_target_is_a_note(load: LoadProcess) -> None:
    prompts = SyntheticPrompts(FixedLength(4), unique=2)
    whole = Reply(body=b'{"choices": [{"message": {"content": "a"}}]}')
    with ScriptedServer(Script(whole)) as server:
        load.configure(Endpoint((f"{server.url}/v1",)), OpenAiWorkload("chat", "m", prompts))
        preflight = load.preflight()
    assert preflight.error is None
    assert any("does not stream" in note for note in preflight.notes)


def test_the_preflight_reports_an_empty_response_unless_its_status_is_expected(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(body=b""))) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        refused = load.preflight()
        load.configure(Endpoint((server.url,)), HttpWorkload(expect=Expectation(statuses=(200,))))
        expected = load.preflight()
    assert (refused.error, refused.is_empty) == ("bad-output", True)
    assert (expected.error, expected.is_empty) == (None, False)


@pytest.mark.timing
def test_a_target_that_closes_at_once_is_seen_however_soon(load: LoadProcess) -> None:
    manners: dict[ReplyMode, bool] = {"close-unsaid": False, "whole": True, "close-after": True}
    for manner, keeps in manners.items():
        with ScriptedServer(Script(Reply(mode=manner))) as server:
            load.configure(Endpoint((server.url,)), HttpWorkload())
            assert load.preflight().keeps_connection is keeps


@pytest.mark.timing
@pytest.mark.parametrize("process", ["constant", "poisson"])
def test_a_running_stage_can_be_made_longer_from_any_thread(
    load: LoadProcess, process: Literal["constant", "poisson"]
) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        extend = threading.Timer(0.3, load.extend, (1.4,))
        played = Played(load, plan(rate=100, duration=0.7, process=process), on_started=extend.start)
    offsets = np.sort(played.rows["scheduled_ns"]) - played.ended.start_ns
    assert played.ended.duration_s == 1.4
    assert played.ended.rates == ((0.0, 100.0), (1.4, 100.0))
    assert played.ended.scheduled == len(offsets)
    assert played.ended.end_ns >= played.ended.start_ns + 1_400_000_000
    assert offsets.max() < 1.4e9
    if process == "constant":
        assert offsets.tolist() == list(range(0, 1_400_000_000, 10_000_000))
    else:
        assert (offsets > 0.7e9).sum() == pytest.approx(70, abs=4 * 70**0.5)


@pytest.mark.timing
def test_clients_go_on_to_the_later_end(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.02)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        extend = threading.Timer(0.2, load.extend, (1.2,))
        played = Played(load, plan(duration=0.6, arrivals=ClosedArrivals(2)), on_started=extend.start)
    last_s = (played.rows["scheduled_ns"].max() - played.ended.start_ns) / 1e9
    assert 1.1 < last_s < 1.2
    assert played.ended.duration_s == 1.2


@pytest.mark.timing
def test_what_is_not_longer_or_a_trace_keeps_its_end(load: LoadProcess) -> None:
    recorded = TraceArrivals(np.array([0, 250_000_000], "<i8").tobytes())
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        for of, duration_s in ((plan(rate=20, duration=0.5), 0.4), (plan(duration=0.5, arrivals=recorded), 3.0)):
            extend = threading.Timer(0.1, load.extend, (duration_s,))
            played = Played(load, of, on_started=extend.start)
            assert played.ended.duration_s == 0.5
            assert played.ended.end_ns < played.ended.start_ns + 2_000_000_000


def test_an_extension_must_be_a_time(load: LoadProcess) -> None:
    for duration_s in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and greater than 0"):
            load.extend(duration_s)
