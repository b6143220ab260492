"""Streamed responses of a scripted server with exact times and bytes, and the rows that the load worker records."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from loadgen.process import LoadProcess
from loadgen.records import Endpoint, Timeouts
from loadgen.reference.openai_events import (
    Generation,
    Pieces,
    add_connection_close,
    build_chunked_stream,
    build_endless_stream,
    build_openai_stream,
    build_single_line_event,
    build_stream_until_close,
    slice_stream,
    truncate,
)
from loadgen.reference.script import Reply, Script, Stream
from loadgen.reference.scripted import ScriptedServer
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process

TOTAL_S = 1.5
SHORT = Timeouts(idle_s=0.5, total_s=TOTAL_S)
MAX_DRAIN_S = 20.0
MIB = 2**20


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


def run_stage(
    load: LoadProcess, reply: Stream | Reply, rate: float = 50, duration: float = 0.1, timeouts: Timeouts | None = None
) -> StageRun:
    """Play a stage with this reply. The default timeouts are so long that a busy machine causes no timeout."""
    prompts = SyntheticPrompts(FixedLength(10), FixedLength(5), unique=10)
    with ScriptedServer(Script(reply=reply)) as server:
        endpoint = Endpoint((f"{server.url}/v1",), timeouts=timeouts or Timeouts())
        load.configure(endpoint, OpenAiWorkload("chat", "m", prompts))
        return StageRun(load, plan(rate=rate, duration=duration, drain_s=MAX_DRAIN_S))


def build_pieces(tokens: int = 5, first_s: float = 0.01, gap_s: float = 0.005, **changes: object) -> Pieces:
    return build_openai_stream(msgspec.structs.replace(Generation(tokens=tokens), **changes), first_s, gap_s)


def assert_all_succeeded(rows: pd.DataFrame) -> None:
    assert len(rows) == 5
    assert rows["error"].isna().all()


@pytest.mark.timing
@pytest.mark.parametrize("text", ["tok ", " ", "\n", "é€😀"])
def test_split_bytes_are_parsed_into_same_tokens(load: LoadProcess, text: str) -> None:
    """Cuts fall inside UTF-8 sequences, inside CRLF, inside chunk sizes."""
    stream = slice_stream(build_chunked_stream(build_pieces(text=text)), 1, interval_s=0.0002)
    rows = run_stage(load, stream, rate=10, duration=0.5).rows
    assert_all_succeeded(rows)
    assert set(rows["tokens_out"]) == {5}
    assert [len(times) for times in rows["chunk_ns"]] == [5] * 5
    assert (rows["first_token_ns"] < rows["last_token_ns"]).all()


@pytest.mark.timing
def test_role_and_empty_deltas_are_not_counted_as_tokens(load: LoadProcess) -> None:
    """The role comes at once, an empty delta in the middle; usage is not requested and not sent."""
    first, *rest = build_pieces(tokens=3, first_s=0.1, has_usage=False)
    empty = (0.12, rest[0][1].replace(b"tok ", b""))
    rows = run_stage(
        load, build_chunked_stream([first, rest[0], empty, *((at_s + 0.1, event) for at_s, event in rest[1:])])
    ).rows
    assert_all_succeeded(rows)
    assert [len(times) for times in rows["chunk_ns"]] == [3] * 5
    assert set(rows["token_source"]) == {"chunks"}
    assert ((rows["first_token_ns"] - rows["sent_ns"]) > 95e6).all()
    assert ((rows["first_byte_ns"] - rows["sent_ns"]) < 95e6).all()


@pytest.mark.timing
def test_reasoning_tokens_precede_first_output(load: LoadProcess) -> None:
    rows = run_stage(
        load, build_chunked_stream(build_pieces(tokens=2, reasoning_tokens=4, gap_s=0.02)), rate=25, duration=1
    ).rows
    assert rows["error"].isna().all()
    gap_ms = (rows["first_output_ns"] - rows["first_token_ns"]) / 1e6
    assert gap_ms.median() == pytest.approx(80, abs=5)
    assert set(rows["tokens_out"]) == {6}


@pytest.mark.parametrize(
    "generation",
    [Generation(tokens=10, tokens_per_chunk=4), Generation(tokens=5, is_tool_call=True, finish_reason="tool_calls")],
)
def test_multi_token_events_and_tool_arguments_are_counted(load: LoadProcess, generation: Generation) -> None:
    rows = run_stage(load, build_chunked_stream(build_openai_stream(generation, 0.01, 0.005))).rows
    assert_all_succeeded(rows)
    assert set(rows["tokens_out"]) == {generation.tokens}
    assert rows["first_token_ns"].notna().all()


def test_token_counts_are_those_of_reported_usage(load: LoadProcess) -> None:
    rows = run_stage(load, build_chunked_stream(build_pieces(reported_tokens=(7, 99)))).rows
    assert_all_succeeded(rows)
    assert (set(rows["tokens_in"]), set(rows["tokens_out"]), set(rows["token_source"])) == ({7}, {99}, {"server"})
    assert [len(times) for times in rows["chunk_ns"]] == [5] * 5


def test_response_without_tokens_is_bad_output_without_first_token(load: LoadProcess) -> None:
    rows = run_stage(load, build_chunked_stream(build_pieces(tokens=0))).rows
    assert set(rows["error"]) == {"bad-output"}
    assert rows["first_token_ns"].isna().all()


@pytest.mark.parametrize(
    "stream",
    [
        add_connection_close(build_chunked_stream(build_pieces())),
        build_stream_until_close(build_pieces()),
        build_stream_until_close(build_pieces(), version="1.1"),
    ],
)
def test_closed_connections_after_each_response_cause_no_errors(load: LoadProcess, stream: Stream) -> None:
    rows = run_stage(load, stream).rows
    assert_all_succeeded(rows)
    assert not rows["reused"].any()


@pytest.mark.parametrize(
    ("stream", "tokens"),
    [
        (truncate(build_chunked_stream(build_pieces()), 4, "reset"), 2),
        (truncate(build_chunked_stream(build_pieces()), 4, "close"), 2),
        (build_chunked_stream(build_pieces(finish_reason=None)), 5),
        (build_chunked_stream(build_pieces(finish_reason=None, has_done_event=False)), 5),
        (build_stream_until_close(build_pieces(finish_reason=None, has_usage=False, has_done_event=False)), 5),
    ],
    ids=["reset", "closed", "no-finish-reason", "no-done-either", "old-http-cut"],
)
def test_incomplete_stream_is_truncated_error(load: LoadProcess, stream: Stream, tokens: int) -> None:
    rows = run_stage(load, stream).rows
    assert list(rows["error"]) == ["truncated"] * 5
    assert [len(times) for times in rows["chunk_ns"]] == [tokens] * 5


@pytest.mark.timing
def test_stalled_stream_fails_at_idle_timeout(load: LoadProcess) -> None:
    rows = run_stage(load, truncate(build_chunked_stream(build_pieces()), 4, "open"), timeouts=SHORT).rows
    assert list(rows["error"]) == ["timeout"] * 5
    assert [len(times) for times in rows["chunk_ns"]] == [2] * 5


@pytest.mark.timing
def test_endless_stream_fails_at_total_timeout(load: LoadProcess) -> None:
    stream = build_endless_stream(
        build_pieces(finish_reason=None, has_usage=False, has_done_event=False), repeat_count=1, period_s=0.02
    )
    rows = run_stage(load, stream, timeouts=SHORT).rows
    assert list(rows["error"]) == ["timeout"] * 5
    assert ((rows["end_ns"] - rows["sent_ns"]) / 1e9).max() < TOTAL_S + 0.5


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(429, headers=(("Retry-After", "1"),)), "http-4xx"),
        (Reply(503), "http-5xx"),
        (Reply(body=b"data: not JSON\n\n", headers=(("Content-Type", "text/event-stream"),)), "bad-payload"),
        (
            Reply(body=b"data: not JSON\n\n", headers=(("Content-Type", "text/event-stream"),), mode="cut-body"),
            "truncated",
        ),
    ],
)
def test_responses_that_are_not_streams_have_error_class(load: LoadProcess, reply: Reply, error: str) -> None:
    assert list(run_stage(load, reply).rows["error"]) == [error] * 5


def test_memory_of_load_worker_is_bounded_for_huge_event(load: LoadProcess) -> None:
    load_rss = _resident_bytes(load.pid)
    rows = run_stage(load, build_single_line_event(256 * MIB), rate=20).rows
    assert list(rows["error"]) == ["bad-payload"] * 2
    assert _resident_bytes(load.pid) - load_rss < 64 * MIB


@pytest.mark.timing
def test_measured_token_times_match_scripted_times(load: LoadProcess) -> None:
    rows = run_stage(
        load, build_chunked_stream(build_pieces(tokens=20, first_s=0.1, gap_s=0.02)), rate=40, duration=1
    ).rows
    assert rows["error"].isna().all()
    ttft_ms = (rows["first_token_ns"] - rows["sent_ns"]) / 1e6
    gaps_ms = np.concatenate([np.diff(times) for times in rows["chunk_ns"]]) / 1e6
    assert ttft_ms.median() == pytest.approx(100, abs=2)
    assert np.median(gaps_ms) == pytest.approx(20, abs=0.5)
    assert np.median(np.abs(gaps_ms - 20)) < 2
    assert rows["reused"].sum() > len(rows) / 4


def _resident_bytes(pid: int) -> int:
    """Peak resident memory of the process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
