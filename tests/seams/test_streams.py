"""Streamed answers as a scripted server plays them to the millisecond and the byte, and what the rows say of them."""

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
from tests.fakes.played import Played, plan

pytestmark = pytest.mark.process

TOTAL_S = 1.5
SHORT = Timeouts(idle_s=0.5, total_s=TOTAL_S)
MAX_DRAIN_S = 20.0
MIB = 2**20


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


def played(
    load: LoadProcess, reply: Stream | Reply, rate: float = 50, duration: float = 0.1, timeouts: Timeouts | None = None
) -> Played:
    """Without `timeouts` they are so long that a busy machine causes none."""
    prompts = SyntheticPrompts(FixedLength(10), FixedLength(5), unique=10)
    with ScriptedServer(Script(reply=reply)) as server:
        endpoint = Endpoint((f"{server.url}/v1",), timeouts=timeouts or Timeouts())
        load.configure(endpoint, OpenAiWorkload("chat", "m", prompts))
        return Played(load, plan(rate=rate, duration=duration, drain_s=MAX_DRAIN_S))


def made(tokens: int = 5, first_s: float = 0.01, gap_s: float = 0.005, **more: object) -> Pieces:
    return build_openai_stream(msgspec.structs.replace(Generation(tokens=tokens), **more), first_s, gap_s)


def whole(rows: pd.DataFrame) -> None:
    assert len(rows) == 5
    assert rows["error"].isna().all()


@pytest.mark.timing
@pytest.mark.parametrize("text", ["tok ", " ", "\n", "é€😀"])
def test_bytes_one_by_one_are_the_same_tokens(load: LoadProcess, text: str) -> None:
    """Cuts fall inside UTF-8 sequences, inside CRLF, inside chunk sizes."""
    stream = slice_stream(build_chunked_stream(made(text=text)), 1, interval_s=0.0002)
    rows = played(load, stream, rate=10, duration=0.5).rows
    whole(rows)
    assert set(rows["tokens_out"]) == {5}
    assert [len(times) for times in rows["chunk_ns"]] == [5] * 5
    assert (rows["first_token_ns"] < rows["last_token_ns"]).all()


@pytest.mark.timing
def test_what_is_no_token_is_not_taken_for_one(load: LoadProcess) -> None:
    """The role comes at once, an empty delta in the middle; usage is not asked for and does not come."""
    first, *rest = made(tokens=3, first_s=0.1, has_usage=False)
    empty = (0.12, rest[0][1].replace(b"tok ", b""))
    rows = played(
        load, build_chunked_stream([first, rest[0], empty, *((at_s + 0.1, event) for at_s, event in rest[1:])])
    ).rows
    whole(rows)
    assert [len(times) for times in rows["chunk_ns"]] == [3] * 5
    assert set(rows["token_source"]) == {"chunks"}
    assert ((rows["first_token_ns"] - rows["sent_ns"]) > 95e6).all()
    assert ((rows["first_byte_ns"] - rows["sent_ns"]) < 95e6).all()


@pytest.mark.timing
def test_reasoning_comes_before_the_first_output(load: LoadProcess) -> None:
    rows = played(load, build_chunked_stream(made(tokens=2, reasoning_tokens=4, gap_s=0.02)), rate=25, duration=1).rows
    assert rows["error"].isna().all()
    gap_ms = (rows["first_output_ns"] - rows["first_token_ns"]) / 1e6
    assert gap_ms.median() == pytest.approx(80, abs=5)
    assert set(rows["tokens_out"]) == {6}


@pytest.mark.parametrize(
    "generation",
    [Generation(tokens=10, tokens_per_chunk=4), Generation(tokens=5, is_tool_call=True, finish_reason="tool_calls")],
)
def test_several_tokens_an_event_and_the_arguments_of_a_tool_count(load: LoadProcess, generation: Generation) -> None:
    rows = played(load, build_chunked_stream(build_openai_stream(generation, 0.01, 0.005))).rows
    whole(rows)
    assert set(rows["tokens_out"]) == {generation.tokens}
    assert rows["first_token_ns"].notna().all()


def test_wrong_usage_is_the_servers_word(load: LoadProcess) -> None:
    rows = played(load, build_chunked_stream(made(reported_tokens=(7, 99)))).rows
    whole(rows)
    assert (set(rows["tokens_in"]), set(rows["tokens_out"]), set(rows["token_source"])) == ({7}, {99}, {"server"})
    assert [len(times) for times in rows["chunk_ns"]] == [5] * 5


def test_a_response_without_tokens_is_a_failure_without_a_first_token(load: LoadProcess) -> None:
    rows = played(load, build_chunked_stream(made(tokens=0))).rows
    assert set(rows["error"]) == {"bad-output"}
    assert rows["first_token_ns"].isna().all()


@pytest.mark.parametrize(
    "stream",
    [
        add_connection_close(build_chunked_stream(made())),
        build_stream_until_close(made()),
        build_stream_until_close(made(), version="1.1"),
    ],
)
def test_connections_that_are_closed_after_each_answer_do_no_harm(load: LoadProcess, stream: Stream) -> None:
    rows = played(load, stream).rows
    whole(rows)
    assert not rows["reused"].any()


@pytest.mark.parametrize(
    ("stream", "tokens"),
    [
        (truncate(build_chunked_stream(made()), 4, "reset"), 2),
        (truncate(build_chunked_stream(made()), 4, "close"), 2),
        (build_chunked_stream(made(finish_reason=None)), 5),
        (build_chunked_stream(made(finish_reason=None, has_done_event=False)), 5),
        (build_stream_until_close(made(finish_reason=None, has_usage=False, has_done_event=False)), 5),
    ],
    ids=["reset", "closed", "no-finish-reason", "no-done-either", "old-http-cut"],
)
def test_a_stream_that_does_not_end_as_it_should_is_truncated(load: LoadProcess, stream: Stream, tokens: int) -> None:
    rows = played(load, stream).rows
    assert list(rows["error"]) == ["truncated"] * 5
    assert [len(times) for times in rows["chunk_ns"]] == [tokens] * 5


@pytest.mark.timing
def test_a_stream_that_stalls_ends_at_the_idle_timeout(load: LoadProcess) -> None:
    rows = played(load, truncate(build_chunked_stream(made()), 4, "open"), timeouts=SHORT).rows
    assert list(rows["error"]) == ["timeout"] * 5
    assert [len(times) for times in rows["chunk_ns"]] == [2] * 5


@pytest.mark.timing
def test_a_stream_that_never_ends_is_cut_at_the_total_timeout(load: LoadProcess) -> None:
    stream = build_endless_stream(
        made(finish_reason=None, has_usage=False, has_done_event=False), repeat_count=1, period_s=0.02
    )
    rows = played(load, stream, timeouts=SHORT).rows
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
def test_answers_that_are_no_streams_have_their_class(load: LoadProcess, reply: Reply, error: str) -> None:
    assert list(played(load, reply).rows["error"]) == [error] * 5


def test_memory_stays_bounded_whatever_a_server_sends(load: LoadProcess) -> None:
    load_rss = _resident_bytes(load.pid)
    rows = played(load, build_single_line_event(256 * MIB), rate=20).rows
    assert list(rows["error"]) == ["bad-payload"] * 2
    assert _resident_bytes(load.pid) - load_rss < 64 * MIB


@pytest.mark.timing
def test_times_are_those_that_were_played(load: LoadProcess) -> None:
    rows = played(load, build_chunked_stream(made(tokens=20, first_s=0.1, gap_s=0.02)), rate=40, duration=1).rows
    assert rows["error"].isna().all()
    ttft_ms = (rows["first_token_ns"] - rows["sent_ns"]) / 1e6
    gaps_ms = np.concatenate([np.diff(times) for times in rows["chunk_ns"]]) / 1e6
    assert ttft_ms.median() == pytest.approx(100, abs=2)
    assert np.median(gaps_ms) == pytest.approx(20, abs=0.5)
    assert np.median(np.abs(gaps_ms - 20)) < 2
    assert rows["reused"].sum() > len(rows) / 4


def _resident_bytes(pid: int) -> int:
    """The most it has ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
