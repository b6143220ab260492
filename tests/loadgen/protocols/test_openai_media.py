"""Speech, transcriptions and images of a scripted server, read through the transport."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadgen.payloads.audio import SAMPLE_RATE_HZ, encode_wav
from loadgen.protocols.openai import build_openai
from loadgen.protocols.openai_media import SpeechReader, build_transcriptions, encode_form
from loadgen.protocols.prepared import PreparedWorkload, ResponseCheck, WorkloadError, check_response
from loadgen.records import Endpoint, Timeouts
from loadgen.reference.openai_events import build_chunked_stream, build_endless_stream, build_stream_until_close
from loadgen.reference.openai_events import truncate as cut
from loadgen.reference.script import Reply, Script, Stream
from loadgen.reference.scripted import ScriptedServer
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, MediaDetails
from loadgen.workloads import (
    Dataset,
    FixedLength,
    GeneratedAudio,
    OpenAiWorkload,
    Popularity,
    SyntheticPrompts,
    TranscriptionWorkload,
    Workload,
)
from tests.fakes.http_client import HttpClient, run_http_client_on

TIMEOUTS = Timeouts(connect_s=5, idle_s=0.3, total_s=0.4)
PROMPTS = SyntheticPrompts(FixedLength(5), unique=2)
PCM = OpenAiWorkload("speech", "tts", PROMPTS, extra_body=b'{"response_format": "pcm", "voice": "alloy"}')
WAV, MP3 = (
    msgspec.structs.replace(PCM, extra_body=b'{"response_format": "%s"}' % name, stream=False)
    for name in (b"wav", b"mp3")
)
IMAGES = OpenAiWorkload("images", "diffusion", PROMPTS, stream=False, extra_body=b'{"n": 2, "size": "64x64"}')
CLIPS = TranscriptionWorkload("whisper", GeneratedAudio(FixedLength(2), unique=2), fields=b'{"language": "en"}')
TEXT = msgspec.structs.replace(CLIPS, fields=b'{"response_format": "text"}')
AUDIO = [(0.01 * number, bytes(4_800)) for number in range(5)]
HALF_SECOND_WAV = encode_wav(np.zeros(SAMPLE_RATE_HZ // 2, np.int16))
IMAGE = {"b64_json": "aW1hZ2U="}


def prepare(workload: Workload, url: str = "http://h/v1") -> PreparedWorkload:
    endpoint = Endpoint((url,), headers=(("Authorization", "Bearer x"),), timeouts=TIMEOUTS)
    if isinstance(workload, TranscriptionWorkload):
        return build_transcriptions(workload, endpoint, parse_url(url))
    assert isinstance(workload, OpenAiWorkload)
    return build_openai(workload, endpoint, parse_url(url))


def send_first_request(workload: Workload, reply: Reply | Stream) -> tuple[ResponseCheck, Exchange, bytes]:
    """Send the first request; return its response check, the exchange, and the request as the server received it."""
    exchanges: list[Exchange] = []

    async def send(client: HttpClient) -> None:
        reader = None if prepared.new_reader is None else prepared.new_reader()
        exchanges.append(await client.request(prepared.requests[0], reader=reader))

    with ScriptedServer(Script(reply=reply)) as server:
        url = f"{server.url}/v1"
        prepared = prepare(workload, url)
        run_http_client_on("uvloop", Endpoint((url,), timeouts=TIMEOUTS), send)
        (request,) = server.requests
    return check_response(prepared.check, exchanges[0]), exchanges[0], request


def make_stream_reply(pieces: list[tuple[float, bytes]], media_type: str = "audio/pcm") -> Stream:
    return build_chunked_stream(pieces, fields=(f"Content-Type: {media_type}",))


def make_typed_reply(body: bytes, media_type: str) -> Reply:
    return Reply(body=body, headers=(("Content-Type", media_type),))


def decode_body(request: bytes) -> object:
    return msgspec.json.decode(request.partition(b"\r\n\r\n")[2])


def test_first_audio_time_and_duration_of_speech_are_measured() -> None:
    check, exchange, request = send_first_request(PCM, make_stream_reply(AUDIO))
    assert check.error is None
    assert request.startswith(b"POST /v1/audio/speech HTTP/1.1\r\n")
    sent = decode_body(request)
    assert isinstance(sent, dict)
    assert len(sent.pop("input").split()) == 5
    assert sent == {"model": "tts", "response_format": "pcm", "voice": "alloy", "stream": True}
    media = exchange.media
    assert media is not None
    assert media.audio_s == 0.5
    assert exchange.first_byte_ns is not None
    assert media.first_audio_ns is not None
    assert exchange.end_ns is not None
    assert exchange.first_byte_ns <= media.first_audio_ns < exchange.end_ns
    assert exchange.body == b"", "the audio is not stored"


def test_first_audio_of_wav_is_its_first_sample() -> None:
    reader = SpeechReader("wav", 8_000)
    head, samples = HALF_SECOND_WAV[:44], HALF_SECOND_WAV[44:]
    for at_ns, piece in enumerate((head[:7], head[7:], samples[:100], samples[100:]), start=1):
        assert reader.feed(piece, at_ns) is None
    assert reader.end([]) is None
    assert reader.media == MediaDetails(first_audio_ns=3, audio_s=0.5)
    single_piece = SpeechReader("wav", 8_000)
    assert single_piece.feed(HALF_SECOND_WAV, 7) is None
    assert single_piece.media == MediaDetails(first_audio_ns=7, audio_s=0.5)


def test_wav_speech_is_requested_without_streaming() -> None:
    check, exchange, request = send_first_request(WAV, make_stream_reply([(0.0, HALF_SECOND_WAV)], "audio/wav"))
    assert (check.error, b'"stream"' in request) == (None, False)
    assert exchange.media is not None
    assert exchange.media.audio_s == 0.5


def test_duration_of_compressed_speech_is_unknown() -> None:
    check, exchange, _ = send_first_request(MP3, make_typed_reply(b"\xff\xfb" + bytes(100), "audio/mpeg"))
    assert check.error is None
    assert exchange.media is not None
    assert (exchange.media.first_audio_ns is None, exchange.media.audio_s) == (False, None)


@pytest.mark.parametrize(
    ("workload", "reply", "error"),
    [
        (PCM, make_stream_reply(AUDIO, "application/octet-stream"), None),
        (PCM, build_stream_until_close(AUDIO), "bad-payload"),
        (PCM, make_typed_reply(bytes(48), "application/octet-stream"), None),
        (PCM, cut(make_stream_reply(AUDIO), 3, "close"), "truncated"),
        (PCM, cut(make_stream_reply(AUDIO), 3, "reset"), "truncated"),
        (PCM, cut(make_stream_reply(AUDIO), 3, "open"), "timeout"),
        (PCM, build_endless_stream(AUDIO, repeat_count=1, period_s=0.01), "timeout"),
        (PCM, make_typed_reply(b"", "audio/pcm"), "bad-output"),
        (PCM, make_typed_reply(b'{"error": {"message": "x"}}', "application/json"), "bad-payload"),
        (PCM, make_typed_reply(b"<html>", "text/html; charset=utf-8"), "bad-payload"),
        (PCM, make_typed_reply(b"data: {}\n\n", "text/event-stream"), "bad-payload"),
        (PCM, Reply(status=422), "http-4xx"),
        (PCM, Reply(status=503), "http-5xx"),
        (PCM, Reply(mode="drop"), "send"),
        (WAV, make_typed_reply(bytes(4_800), "audio/wav"), "bad-payload"),
        (WAV, make_typed_reply(HALF_SECOND_WAV[:30], "audio/wav"), "bad-output"),
        (CLIPS, make_typed_reply(b'{"text": ""}', "application/json"), None),
        (CLIPS, make_typed_reply(b'{"text": null}', "application/json"), "bad-payload"),
        (CLIPS, make_typed_reply(b'{"choices": []}', "application/json"), "bad-payload"),
        (CLIPS, make_typed_reply(b"hello", "text/plain"), "bad-payload"),
        (CLIPS, make_typed_reply(b'{"error": {"message": "x"}}', "application/json"), "bad-output"),
        (CLIPS, Reply(status=413), "http-4xx"),
        (CLIPS, Reply(body=b'{"text": "hello"}', mode="cut-body"), "truncated"),
        (CLIPS, Reply(mode="garbage"), "bad-payload"),
        (TEXT, make_typed_reply("é hello\n".encode(), "text/plain"), None),
        (TEXT, make_typed_reply(b'"hello"', "application/json"), None),
        (TEXT, make_typed_reply(b'{"choices": []}', "application/json"), "bad-payload"),
        (TEXT, make_typed_reply(b'{"error": "x"}', "application/json"), "bad-output"),
        (TEXT, make_typed_reply(b"<html>", "text/html"), "bad-payload"),
        (TEXT, make_typed_reply(b"\xff\xfe\xfd", "text/plain"), "bad-payload"),
        (
            IMAGES,
            make_typed_reply(msgspec.json.encode({"data": [IMAGE, {"url": "http://h/1.png"}]}), "application/json"),
            None,
        ),
        (IMAGES, make_typed_reply(msgspec.json.encode({"data": [IMAGE]}), "application/json"), "bad-output"),
        (IMAGES, make_typed_reply(msgspec.json.encode({"data": [IMAGE, {}]}), "application/json"), "bad-output"),
        (IMAGES, make_typed_reply(b'{"error": {"message": "x"}}', "application/json"), "bad-output"),
        (IMAGES, make_typed_reply(b'{"created": 1}', "application/json"), "bad-payload"),
        (IMAGES, make_typed_reply(b'{"data": "x"}', "application/json"), "bad-payload"),
        (IMAGES, make_typed_reply(b"<html>", "text/html"), "bad-payload"),
        (IMAGES, Reply(status=500), "http-5xx"),
    ],
)
def test_media_response_maps_to_error_class(workload: Workload, reply: Reply | Stream, error: str | None) -> None:
    check, exchange, _ = send_first_request(workload, reply)
    assert check.error == error, exchange.detail
    assert exchange.end_ns is not None


def test_image_file_response_counts_as_one_image() -> None:
    single = msgspec.structs.replace(IMAGES, extra_body=b'{"response_format": "file"}')
    check, exchange, request = send_first_request(single, make_typed_reply(b"\x89PNG", "image/png"))
    assert (check.error, exchange.media) == (None, MediaDetails(images=1))
    assert request.startswith(b"POST /v1/images/generations HTTP/1.1\r\n")
    sent = decode_body(request)
    assert isinstance(sent, dict)
    assert sent.keys() == {"model", "prompt", "response_format"}
    assert send_first_request(single, make_typed_reply(b"", "image/png"))[0].error == "bad-output"


def test_audio_clip_is_uploaded_as_multipart_form() -> None:
    fields = b'{"language": "en", "temperature": 0.5, "timestamp_granularities": ["word", "segment"], "vad": true}'
    check, exchange, request = send_first_request(
        msgspec.structs.replace(CLIPS, fields=fields),
        make_typed_reply(b'{"text": "hello", "duration": 2}', "application/json"),
    )
    assert (check.error, exchange.media) == (None, MediaDetails(audio_s=2.0))
    head, _, form = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")
    content_type = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type: "))
    parts = message_from_bytes(content_type + b"\r\n\r\n" + form).get_payload()
    assert isinstance(parts, list)
    contents = [
        (part.get_param("name", header="content-disposition"), part.get_payload(decode=True))  # type: ignore[union-attr]
        for part in parts
    ]
    *texts, (file_name, file) = contents
    assert texts == [
        ("model", b"whisper"), ("response_format", b"json"), ("language", b"en"), ("temperature", b"0.5"),
        ("timestamp_granularities[]", b"word"), ("timestamp_granularities[]", b"segment"), ("vad", b"true"),
    ]  # fmt: skip
    assert file_name == "file"
    assert isinstance(file, bytes)
    assert (file[:4], len(file)) == (b"RIFF", 44 + 2 * 2 * SAMPLE_RATE_HZ)


def test_names_in_multipart_form_cannot_inject_headers() -> None:
    body, content_type = encode_form({'x"\r\ny': "1"}, 'b"\r\nEvil: 1.wav', b"a")
    boundary = content_type.rpartition("=")[2].encode()
    assert body.count(b"--" + boundary) == 3
    assert b"\r\nEvil" not in body
    assert b'filename="b%22%0D%0AEvil: 1.wav"\r\nContent-Type: audio/' in body
    assert b'name="x%22%0D%0Ay"' in body


def test_audio_files_of_folder_are_sent_and_other_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(HALF_SECOND_WAV)
    (tmp_path / "b.MP3").write_bytes(b"ID3")
    (tmp_path / "c.txt").write_text("what was said")
    folder = msgspec.structs.replace(
        CLIPS, generated=None, dataset=Dataset(str(tmp_path), "folder"), popularity=Popularity("zipf")
    )
    prepared = prepare(folder)
    assert len(prepared.requests) == 2
    assert prepared.request_indices is not None
    assert b'filename="b.MP3"\r\nContent-Type: audio/mpeg\r\n\r\nID3\r\n--' in prepared.requests[1]
    skipped, unknown = prepared.notes
    assert skipped.startswith("1 files of the folder were not sent")
    assert unknown.startswith("the duration of 1 audio files is unknown")
    exchanges = [Exchange(0, index, 0, b"", lambda _: None, status=200, body=b'{"text": "x"}') for index in (0, 1)]
    assert [prepared.check(exchange).error for exchange in exchanges] == [None, None]
    assert [exchange.media for exchange in exchanges] == [MediaDetails(audio_s=0.5), MediaDetails()]
    (tmp_path / "a.wav").unlink()
    (tmp_path / "b.MP3").unlink()
    with pytest.raises(WorkloadError, match="no audio files") as raised:
        prepare(folder)
    assert ".flac" in (raised.value.hint or "")


def test_unsupported_formats_and_sessions_are_rejected() -> None:
    with pytest.raises(WorkloadError, match="'ogg' is not supported"):
        prepare(msgspec.structs.replace(PCM, extra_body=b'{"response_format": "ogg"}'))
    with pytest.raises(WorkloadError, match="'diarized_json' of transcripts is not supported"):
        prepare(msgspec.structs.replace(CLIPS, fields=b'{"response_format": "diarized_json"}'))
    sessions = SyntheticPrompts(FixedLength(5), FixedLength(5), turns=FixedLength(2))
    with pytest.raises(WorkloadError, match="sessions are supported for chat"):
        prepare(msgspec.structs.replace(PCM, prompts=sessions))
