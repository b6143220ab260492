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
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


@pytest.mark.timing
def test_clients_are_limited_and_send_next_request_after_response(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.05)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stage_run = StageRun(load, plan(arrivals=ClosedArrivals(4)))
        connections = server.connection_count
    rows = stage_run.rows.sort_values("index")
    assert stage_run.started[0].scheduled is None
    assert 4 * 1 / 0.05 * 0.8 < len(rows) <= 4 * 1 / 0.05
    assert connections == 4
    at_start = rows["scheduled_ns"] == stage_run.ended.start_ns
    assert at_start.sum() == 4
    assert rows["scheduled_ns"][~at_start].isin(rows["end_ns"]).all()
    assert stage_run.ended.rates == ()


@pytest.mark.timing
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports it")
def test_stage_end_reports_cpu_wait_of_sender(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        waits = [StageRun(load, plan(rate=500, duration=0.3)).ended.cpu_wait_s for _ in range(2)]
    assert all(waited_s is not None and 0 <= waited_s < 10 for waited_s in waits)
    assert any(waits), "some of a thousand wake-ups must have been delayed by the server on the same machine"


def test_next_stage_sends_prompts_that_were_not_sent_before(load: LoadProcess) -> None:
    """A server with a prefix cache would respond to the same prompts faster in each later stage."""
    with ScriptedServer(Script()) as server:
        prompts = tuple(f"prompt {number}".encode() for number in range(10))
        load.configure(Endpoint((server.url,)), HttpWorkload("POST", bodies=prompts))
        first = plan(rate=100, duration=0.05)
        stage_run = StageRun(load, first)
        StageRun(load, msgspec.structs.replace(first, first_request=len(stage_run.rows)))
        received = [request.rpartition(b"\r\n\r\n")[2] for request in server.requests]
    assert sorted(received) == sorted(prompts)


COUNTS = {"responses": 10, "calling_responses": 0, "tool_calls": 0, "checked": 10}


@pytest.mark.parametrize(("text", "error"), [('{"answer": 1}', None), ("no JSON", "bad-output")])
def test_responses_are_checked_against_json_schema(load: LoadProcess, text: str, error: str | None) -> None:
    schema = JsonFormat(b'{"required": ["answer"]}', check=True)
    prompts = SyntheticPrompts(FixedLength(3), unique=2, options=RequestOptions(response_format=schema))
    reply = Reply(body=msgspec.json.encode({"choices": [{"message": {"content": text}}]}))
    with ScriptedServer(Script(reply)) as server:
        load.configure(Endpoint((server.url,)), OpenAiWorkload("chat", "m", prompts, stream=error is not None))
        stage_run = StageRun(load, plan(rate=20, duration=0.5))
    assert stage_run.rows["error"].isna().all() if error is None else set(stage_run.rows["error"]) == {error}
    assert stage_run.ended.outputs == {**COUNTS, "valid": 10 if error is None else 0}
    assert [failure.error for failure in stage_run.ended.first_errors] == ([] if error is None else [error])
    if error is not None:
        assert "the response is not JSON" in stage_run.ended.first_errors[0].text
        assert (stage_run.progress[-1].completed, stage_run.progress[-1].failed > 0) == (0, True)


def test_lead_in_precedes_start_without_gap(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stage_run = StageRun(load, plan(rate=100, duration=0.5, lead_in_s=0.5))
    offsets = np.sort(stage_run.rows["scheduled_ns"]) - stage_run.ended.start_ns
    assert offsets.tolist() == list(range(-500_000_000, 500_000_000, 10_000_000))
    assert stage_run.ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert (stage_run.rows["sent_ns"] >= stage_run.rows["scheduled_ns"]).all()


@pytest.mark.timing
def test_rate_of_running_stage_can_be_changed_from_other_thread(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        change = threading.Timer(0.5, load.change_rate, (400.0,))
        stage_run = StageRun(load, plan(rate=20, duration=1, process="poisson"), on_started=change.start)
    (start, before, after, end) = stage_run.ended.rates
    assert (start, end) == ((0.0, 20.0), (1.0, 400.0))
    assert before[0] == after[0]
    offsets_s = (np.sort(stage_run.rows["scheduled_ns"]) - stage_run.ended.start_ns) / 1e9
    expected = 400 * (1 - after[0])
    assert (offsets_s > after[0]).sum() == pytest.approx(expected, abs=4 * expected**0.5)
    assert stage_run.ended.scheduled == len(stage_run.rows)


@pytest.mark.timing
def test_rate_changed_in_lead_in_applies_to_whole_measurement(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        change = threading.Timer(0.3, load.change_rate, (100.0,))
        stage_run = StageRun(load, plan(rate=10, duration=0.5, lead_in_s=0.8), on_started=change.start)
    assert stage_run.ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert (stage_run.rows["scheduled_ns"] >= stage_run.ended.start_ns).sum() == pytest.approx(50, abs=1)


def test_invalid_rate_change_is_rejected(load: LoadProcess) -> None:
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate"):
            load.change_rate(rate)


def test_trace_arrivals_are_replayed_as_recorded(load: LoadProcess) -> None:
    recorded = np.array([0, 100_000_000, 100_000_000, 250_000_000], "<i8")
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stage_run = StageRun(load, plan(duration=0.5, arrivals=TraceArrivals(recorded.tobytes())))
    offsets = np.sort(stage_run.rows["scheduled_ns"]) - stage_run.ended.start_ns
    assert offsets.tolist() == recorded.tolist()
    assert stage_run.ended.rates == ()


@pytest.mark.timing
def test_key_file_is_read_again_after_401(load: LoadProcess, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    with ScriptedServer(Script(Reply(401))) as server:
        endpoint = Endpoint((server.url,), key_files=(KeyFile("Authorization", str(key), prefix="Bearer "),))
        load.configure(endpoint, HttpWorkload(method="POST", bodies=(b"Authorization: Bearer first\r\n",)))
        renew = threading.Timer(0.3, key.write_text, ("second\n",))
        stage_run = StageRun(load, plan(rate=50, duration=2), on_started=renew.start)
        requests = server.requests
    with_key = [request.partition(b"\r\n\r\n")[0].partition(b"Authorization: ")[2] for request in requests]
    assert with_key[0].startswith(b"Bearer first")
    assert with_key[-1].startswith(b"Bearer second")
    assert all(request.endswith(b"\r\n\r\nAuthorization: Bearer first\r\n") for request in requests)
    assert set(stage_run.rows["error"]) == {"http-4xx"}


@pytest.mark.parametrize("content", [None, "", "two\nlines", "x" * 70_000])
def test_invalid_key_file_is_reported_without_its_content(tmp_path: Path, content: str | None) -> None:
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
def test_session_turns_are_sent_after_previous_responses(
    load: LoadProcess, stream: bool, live: LiveHistory | None
) -> None:
    prompts = SyntheticPrompts(
        FixedLength(20), FixedLength(4), turns=FixedLength(3), think_time=ExponentialDelay(0.02), live=live, unique=50
    )
    mock = OpenAiMock(ServiceModel(delay_s=0.02, tokens_per_s=200))
    with ScriptedServer(Script(protocols=(mock,))) as server:
        load.configure(Endpoint((f"{server.url}/v1",)), OpenAiWorkload("chat", "scripted", prompts, stream=stream))
        assert load.preflight().error is None
        requests_before = len(server.requests)
        stage_run = StageRun(load, plan(rate=40, duration=1))
        bodies = sorted(len(request) for request in server.requests[requests_before:])
    rows = stage_run.rows
    assert rows["error"].isna().all()
    assert stage_run.ended.scheduled is None
    # 40 sessions of three turns; the end of the stage cuts some off
    assert 90 < len(rows) <= 120
    assert bodies[-1] > 2 * bodies[0]
    assert set(rows["tokens_out"]) == {4}
    assert rows["first_token_ns"].notna().all() == stream
    assert sorted(rows["index"]) == list(range(len(rows)))
    turns = rows.sort_values("sent_ns").groupby("session")["turn"].agg(list)
    assert sorted(turns.index) == list(range(40))
    assert all(session_turns == list(range(len(session_turns))) for session_turns in turns)
    previous_response_counts = [request.count(b'"tok tok tok tok "') for request in server.requests[requests_before:]]
    assert max(previous_response_counts) == (0 if live is None else 2)
    assert (stage_run.ended.live_sessions is None) == (live is None)
    if stage_run.ended.live_sessions is not None:
        assert stage_run.ended.live_sessions.started == 40


def test_preflight_notes_that_target_does_not_stream(load: LoadProcess) -> None:
    prompts = SyntheticPrompts(FixedLength(4), unique=2)
    reply = Reply(body=b'{"choices": [{"message": {"content": "a"}}]}')
    with ScriptedServer(Script(reply)) as server:
        load.configure(Endpoint((f"{server.url}/v1",)), OpenAiWorkload("chat", "m", prompts))
        preflight = load.preflight()
    assert preflight.error is None
    assert any("does not stream" in note for note in preflight.notes)


def test_preflight_reports_empty_response_unless_its_status_is_expected(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(body=b""))) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        default_preflight = load.preflight()
        load.configure(Endpoint((server.url,)), HttpWorkload(expect=Expectation(statuses=(200,))))
        lenient_preflight = load.preflight()
    assert (default_preflight.error, default_preflight.is_empty) == ("bad-output", True)
    assert (lenient_preflight.error, lenient_preflight.is_empty) == (None, False)


@pytest.mark.timing
def test_preflight_detects_target_that_closes_its_connections(load: LoadProcess) -> None:
    expected_by_mode: dict[ReplyMode, bool] = {"close-unsaid": False, "whole": True, "close-after": True}
    for mode, is_kept_alive in expected_by_mode.items():
        with ScriptedServer(Script(Reply(mode=mode))) as server:
            load.configure(Endpoint((server.url,)), HttpWorkload())
            assert load.preflight().reuses_connection is is_kept_alive


@pytest.mark.timing
@pytest.mark.parametrize("process", ["constant", "poisson"])
def test_running_stage_can_be_extended_from_other_thread(
    load: LoadProcess, process: Literal["constant", "poisson"]
) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        extend = threading.Timer(0.3, load.extend, (1.4,))
        stage_run = StageRun(load, plan(rate=100, duration=0.7, process=process), on_started=extend.start)
    offsets = np.sort(stage_run.rows["scheduled_ns"]) - stage_run.ended.start_ns
    assert stage_run.ended.duration_s == 1.4
    assert stage_run.ended.rates == ((0.0, 100.0), (1.4, 100.0))
    assert stage_run.ended.scheduled == len(offsets)
    assert stage_run.ended.end_ns >= stage_run.ended.start_ns + 1_400_000_000
    assert offsets.max() < 1.4e9
    if process == "constant":
        assert offsets.tolist() == list(range(0, 1_400_000_000, 10_000_000))
    else:
        assert (offsets > 0.7e9).sum() == pytest.approx(70, abs=4 * 70**0.5)


@pytest.mark.timing
def test_clients_of_extended_stage_continue_until_new_end(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.02)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        extend = threading.Timer(0.2, load.extend, (1.2,))
        stage_run = StageRun(load, plan(duration=0.6, arrivals=ClosedArrivals(2)), on_started=extend.start)
    last_s = (stage_run.rows["scheduled_ns"].max() - stage_run.ended.start_ns) / 1e9
    assert 1.1 < last_s < 1.2
    assert stage_run.ended.duration_s == 1.2


@pytest.mark.timing
def test_shorter_duration_and_extension_of_trace_are_ignored(load: LoadProcess) -> None:
    recorded = TraceArrivals(np.array([0, 250_000_000], "<i8").tobytes())
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        for stage_plan, duration_s in (
            (plan(rate=20, duration=0.5), 0.4),
            (plan(duration=0.5, arrivals=recorded), 3.0),
        ):
            extend = threading.Timer(0.1, load.extend, (duration_s,))
            stage_run = StageRun(load, stage_plan, on_started=extend.start)
            assert stage_run.ended.duration_s == 0.5
            assert stage_run.ended.end_ns < stage_run.ended.start_ns + 2_000_000_000


def test_invalid_extension_is_rejected(load: LoadProcess) -> None:
    for duration_s in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and greater than 0"):
            load.extend(duration_s)
