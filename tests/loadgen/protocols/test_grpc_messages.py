import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.protocols.grpc_messages import MessageStreamReader, build_grpc
from loadgen.protocols.prepared import PreparedWorkload, ResponseCheck, WorkloadError, check_response
from loadgen.records import Endpoint
from loadgen.transport.address import parse_grpc_url
from loadgen.transport.exchange import Exchange
from loadgen.transport.grpc_calls import split_messages
from loadgen.workloads import Dataset, GrpcWorkload, HttpWorkload, Popularity
from tests.fakes.grpc_speech import SERVICE, Audio, Text, speech_set


@pytest.fixture(scope="module")
def protoset(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("protoset") / "speech.binpb"
    path.write_bytes(speech_set())
    return str(path)


def build(protoset: str, method: str = "Say", **settings: Any) -> PreparedWorkload:
    async def send(request: bytes, method: str = "", /) -> Exchange:
        raise AssertionError("a descriptor set needs no reflection request")

    workload = GrpcWorkload(f"{SERVICE}/{method}", HttpWorkload(**settings), protoset)
    return asyncio.run(build_grpc(workload, Endpoint(("grpc://h:1",)), parse_grpc_url("grpc://h:1"), send))


def bodies(*values: object) -> dict[str, Any]:
    return {"bodies": tuple(json.dumps(value).encode() for value in values)}


def test_json_bodies_are_converted_to_messages_in_advance(protoset: str) -> None:
    prepared = build(protoset, **bodies({"text": "a", "voice": {"speed": 2}, "wait": "1.5s"}, {"text": "é"}))
    first, second = map(Text.FromString, prepared.requests)
    assert (first.text, first.voice.speed, first.wait.nanos) == ("a", 2, 500_000_000)
    assert second.text == "é"
    assert (prepared.call_kind, prepared.new_reader) == ("unary", None)
    assert prepared.label == f"grpc://h:1/{SERVICE}/Say"


def test_missing_body_is_sent_as_empty_message(protoset: str) -> None:
    assert build(protoset).requests == [b""]
    assert split_messages(build(protoset, "Join").requests[0]) == [b""]


@pytest.mark.parametrize(("method", "is_streamed"), [("Join", False), ("Talk", True)])
def test_array_elements_are_messages_of_client_stream(protoset: str, method: str, is_streamed: bool) -> None:
    prepared = build(protoset, method, **bodies([{"text": "a"}, {}, {"text": "b"}], {"text": "c"}, []))
    sent = [[Text.FromString(message).text for message in split_messages(request)] for request in prepared.requests]
    assert sent == [["a", "", "b"], ["c"], []]
    assert (prepared.call_kind, prepared.new_reader is not None) == ("client-stream", is_streamed)


def test_dataset_rows_fill_template_or_are_messages(protoset: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,speed\nhello,1.5\nx,2\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    template = '{"text": "{{text}}!", "voice": {"speed": {{speed}}}}'
    prepared = build(protoset, template=template, dataset=Dataset(str(tmp_path / "rows.csv"), "csv"))
    assert [(text.text, text.voice.speed) for text in map(Text.FromString, prepared.requests)] == [
        ("hello!", 1.5),
        ("x!", 2),
    ]
    prepared = build(
        protoset, dataset=Dataset(str(tmp_path / "rows.jsonl"), "jsonl"), popularity=Popularity("uniform"), seed=1
    )
    assert [Text.FromString(request).text for request in prepared.requests] == ["a", "b"]
    assert set(prepared.request_indices or ()) == {0, 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"txt": "a"}', r'request 1 cannot be converted to the message demo\.speech\.Text: .*"txt"'),
        (b'{"text": 1}', "cannot be converted"),
        (b'{"voice": {"speed": "x"}}', "cannot be converted"),
        (b'{"wait": "1"}', "cannot be converted"),
        (b"[{}]", r"contains an array where a message demo\.speech\.Text is expected"),
        (b"1", "cannot be converted"),
        (b"{", "not valid JSON"),
        (b'{"text":' + b"[" * 5000, "not valid JSON"),
    ],
)
def test_json_that_does_not_match_message_is_workload_error(protoset: str, body: bytes, message: str) -> None:
    with pytest.raises(WorkloadError, match=message) as raised:
        build(protoset, bodies=(body,))
    assert len(str(raised.value)) < 500


def test_unreadable_dataset_is_workload_error(protoset: str) -> None:
    with pytest.raises(WorkloadError, match="cannot be read"):
        build(protoset, dataset=Dataset("/nowhere.jsonl", "jsonl"))


def make_exchange(status: int, body: bytes, reader: MessageStreamReader | None = None) -> Exchange:
    exchange = Exchange(0, 0, 0, b"", lambda _: None, reader=reader)
    exchange.status, exchange.body = status, body
    return exchange


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(200, b"", None), (200, Audio(samples=b"x").SerializeToString(), None), (200, b"\xff", "bad-payload"),
     (503, b"", "http-5xx"), (404, b"", "http-4xx")],
)  # fmt: skip
def test_grpc_response_is_checked_by_status_and_message_decoding(
    protoset: str, status: int, body: bytes, error: str | None
) -> None:
    assert check_response(build(protoset).check, make_exchange(status, body)) == ResponseCheck(error)


def test_stream_records_message_times_and_rejects_invalid_or_surplus_messages(
    protoset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.protocols.grpc_messages._MAX_RESPONSES", 3)
    prepared = build(protoset, "Read")
    assert prepared.new_reader is not None
    reader = prepared.new_reader()
    assert [reader.feed(b"", time_ns) for time_ns in (5, 7, 11)] == [None] * 3
    assert reader.tokens is not None
    assert list(reader.tokens.chunk_ns or ()) == [5, 7, 11]
    assert (reader.tokens.first_token_ns, reader.tokens.tokens_out) == (None, None)
    assert reader.feed(b"\xff", 12) == "bad-payload"
    assert reader.feed(b"", 13) == "bad-payload"
