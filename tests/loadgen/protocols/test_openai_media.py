"""Speech, transcriptions and images, through our transport from a scripted server."""

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
from tests.fakes.asker import Asker, converse_on

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


def prepared(workload: Workload, url: str = "http://h/v1") -> PreparedWorkload:
    endpoint = Endpoint((url,), headers=(("Authorization", "Bearer x"),), timeouts=TIMEOUTS)
    if isinstance(workload, TranscriptionWorkload):
        return build_transcriptions(workload, endpoint, parse_url(url))
    assert isinstance(workload, OpenAiWorkload)
    return build_openai(workload, endpoint, parse_url(url))


def asked(workload: Workload, reply: Reply | Stream) -> tuple[ResponseCheck, Exchange, bytes]:
    """The check of the response to the first request, and the request as the server received it."""
    kept: list[Exchange] = []

    async def talk(asker: Asker) -> None:
        reader = None if built.new_reader is None else built.new_reader()
        kept.append(await asker.ask(built.requests[0], reader=reader))

    with ScriptedServer(Script(reply=reply)) as server:
        url = f"{server.url}/v1"
        built = prepared(workload, url)
        converse_on("uvloop", Endpoint((url,), timeouts=TIMEOUTS), talk)
        (request,) = server.requests
    return check_response(built.check, kept[0]), kept[0], request


def streamed(pieces: list[tuple[float, bytes]], media_type: str = "audio/pcm") -> Stream:
    return build_chunked_stream(pieces, fields=(f"Content-Type: {media_type}",))


def typed(body: bytes, media_type: str) -> Reply:
    return Reply(body=body, headers=(("Content-Type", media_type),))


def body_of(request: bytes) -> object:
    return msgspec.json.decode(request.partition(b"\r\n\r\n")[2])


def test_speech_is_timed_from_its_first_audio() -> None:
    check, exchange, request = asked(PCM, streamed(AUDIO))
    assert check.error is None
    assert request.startswith(b"POST /v1/audio/speech HTTP/1.1\r\n")
    sent = body_of(request)
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


def test_the_first_audio_of_a_wav_file_is_its_first_sample() -> None:
    reader = SpeechReader("wav", 8_000)
    head, samples = HALF_SECOND_WAV[:44], HALF_SECOND_WAV[44:]
    for at_ns, piece in enumerate((head[:7], head[7:], samples[:100], samples[100:]), start=1):
        assert reader.feed(piece, at_ns) is None
    assert reader.end([]) is None
    assert reader.media == MediaDetails(first_audio_ns=3, audio_s=0.5)
    together = SpeechReader("wav", 8_000)
    assert together.feed(HALF_SECOND_WAV, 7) is None
    assert together.media == MediaDetails(first_audio_ns=7, audio_s=0.5)


def test_a_wav_file_is_asked_for_as_a_whole() -> None:
    check, exchange, request = asked(WAV, streamed([(0.0, HALF_SECOND_WAV)], "audio/wav"))
    assert (check.error, b'"stream"' in request) == (None, False)
    assert exchange.media is not None
    assert exchange.media.audio_s == 0.5


def test_the_duration_of_compressed_speech_is_unknown() -> None:
    check, exchange, _ = asked(MP3, typed(b"\xff\xfb" + bytes(100), "audio/mpeg"))
    assert check.error is None
    assert exchange.media is not None
    assert (exchange.media.first_audio_ns is None, exchange.media.audio_s) == (False, None)


@pytest.mark.parametrize(
    ("workload", "reply", "error"),
    [
        (PCM, streamed(AUDIO, "application/octet-stream"), None),
        (PCM, build_stream_until_close(AUDIO), "bad-payload"),
        (PCM, typed(bytes(48), "application/octet-stream"), None),
        (PCM, cut(streamed(AUDIO), 3, "close"), "truncated"),
        (PCM, cut(streamed(AUDIO), 3, "reset"), "truncated"),
        (PCM, cut(streamed(AUDIO), 3, "open"), "timeout"),
        (PCM, build_endless_stream(AUDIO, repeat_count=1, period_s=0.01), "timeout"),
        (PCM, typed(b"", "audio/pcm"), "bad-output"),
        (PCM, typed(b'{"error": {"message": "x"}}', "application/json"), "bad-payload"),
        (PCM, typed(b"<html>", "text/html; charset=utf-8"), "bad-payload"),
        (PCM, typed(b"data: {}\n\n", "text/event-stream"), "bad-payload"),
        (PCM, Reply(status=422), "http-4xx"),
        (PCM, Reply(status=503), "http-5xx"),
        (PCM, Reply(mode="drop"), "send"),
        (WAV, typed(bytes(4_800), "audio/wav"), "bad-payload"),
        (WAV, typed(HALF_SECOND_WAV[:30], "audio/wav"), "bad-output"),
        (CLIPS, typed(b'{"text": ""}', "application/json"), None),
        (CLIPS, typed(b'{"text": null}', "application/json"), "bad-payload"),
        (CLIPS, typed(b'{"choices": []}', "application/json"), "bad-payload"),
        (CLIPS, typed(b"hello", "text/plain"), "bad-payload"),
        (CLIPS, typed(b'{"error": {"message": "x"}}', "application/json"), "bad-output"),
        (CLIPS, Reply(status=413), "http-4xx"),
        (CLIPS, Reply(body=b'{"text": "hello"}', mode="cut-body"), "truncated"),
        (CLIPS, Reply(mode="garbage"), "bad-payload"),
        (TEXT, typed("é hello\n".encode(), "text/plain"), None),
        (TEXT, typed(b'"hello"', "application/json"), None),
        (TEXT, typed(b'{"choices": []}', "application/json"), "bad-payload"),
        (TEXT, typed(b'{"error": "x"}', "application/json"), "bad-output"),
        (TEXT, typed(b"<html>", "text/html"), "bad-payload"),
        (TEXT, typed(b"\xff\xfe\xfd", "text/plain"), "bad-payload"),
        (IMAGES, typed(msgspec.json.encode({"data": [IMAGE, {"url": "http://h/1.png"}]}), "application/json"), None),
        (IMAGES, typed(msgspec.json.encode({"data": [IMAGE]}), "application/json"), "bad-output"),
        (IMAGES, typed(msgspec.json.encode({"data": [IMAGE, {}]}), "application/json"), "bad-output"),
        (IMAGES, typed(b'{"error": {"message": "x"}}', "application/json"), "bad-output"),
        (IMAGES, typed(b'{"created": 1}', "application/json"), "bad-payload"),
        (IMAGES, typed(b'{"data": "x"}', "application/json"), "bad-payload"),
        (IMAGES, typed(b"<html>", "text/html"), "bad-payload"),
        (IMAGES, Reply(status=500), "http-5xx"),
    ],
)
def test_how_a_response_may_end(workload: Workload, reply: Reply | Stream, error: str | None) -> None:
    check, exchange, _ = asked(workload, reply)
    assert check.error == error, exchange.detail
    assert exchange.end_ns is not None


def test_an_image_as_a_file_counts_once() -> None:
    single = msgspec.structs.replace(IMAGES, extra_body=b'{"response_format": "file"}')
    check, exchange, request = asked(single, typed(b"\x89PNG", "image/png"))
    assert (check.error, exchange.media) == (None, MediaDetails(images=1))
    assert request.startswith(b"POST /v1/images/generations HTTP/1.1\r\n")
    sent = body_of(request)
    assert isinstance(sent, dict)
    assert sent.keys() == {"model", "prompt", "response_format"}
    assert asked(single, typed(b"", "image/png"))[0].error == "bad-output"


def test_a_clip_is_uploaded_as_a_form() -> None:
    fields = b'{"language": "en", "temperature": 0.5, "timestamp_granularities": ["word", "segment"], "vad": true}'
    check, exchange, request = asked(
        msgspec.structs.replace(CLIPS, fields=fields), typed(b'{"text": "hello", "duration": 2}', "application/json")
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


def test_a_name_cannot_end_its_header() -> None:
    body, content_type = encode_form({'x"\r\ny': "1"}, 'b"\r\nEvil: 1.wav', b"a")
    boundary = content_type.rpartition("=")[2].encode()
    assert body.count(b"--" + boundary) == 3
    assert b"\r\nEvil" not in body
    assert b'filename="b%22%0D%0AEvil: 1.wav"\r\nContent-Type: audio/' in body
    assert b'name="x%22%0D%0Ay"' in body


def test_the_files_of_a_folder_are_sent_and_what_is_no_audio_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(HALF_SECOND_WAV)
    (tmp_path / "b.MP3").write_bytes(b"ID3")
    (tmp_path / "c.txt").write_text("what was said")
    folder = msgspec.structs.replace(
        CLIPS, generated=None, dataset=Dataset(str(tmp_path), "folder"), popularity=Popularity("zipf")
    )
    built = prepared(folder)
    assert len(built.requests) == 2
    assert built.request_indices is not None
    assert b'filename="b.MP3"\r\nContent-Type: audio/mpeg\r\n\r\nID3\r\n--' in built.requests[1]
    skipped, unknown = built.notes
    assert skipped.startswith("1 files of the folder were not sent")
    assert unknown.startswith("the duration of 1 audio files is unknown")
    exchanges = [Exchange(0, index, 0, b"", lambda _: None, status=200, body=b'{"text": "x"}') for index in (0, 1)]
    assert [built.check(exchange).error for exchange in exchanges] == [None, None]
    assert [exchange.media for exchange in exchanges] == [MediaDetails(audio_s=0.5), MediaDetails()]
    (tmp_path / "a.wav").unlink()
    (tmp_path / "b.MP3").unlink()
    with pytest.raises(WorkloadError, match="no audio files") as caught:
        prepared(folder)
    assert ".flac" in (caught.value.hint or "")


def test_what_cannot_be_read_is_not_requested() -> None:
    with pytest.raises(WorkloadError, match="'ogg' is not supported"):
        prepared(msgspec.structs.replace(PCM, extra_body=b'{"response_format": "ogg"}'))
    with pytest.raises(WorkloadError, match="'diarized_json' of transcripts is not supported"):
        prepared(msgspec.structs.replace(CLIPS, fields=b'{"response_format": "diarized_json"}'))
    sessions = SyntheticPrompts(FixedLength(5), FixedLength(5), turns=FixedLength(2))
    with pytest.raises(WorkloadError, match="sessions are supported for chat"):
        prepared(msgspec.structs.replace(PCM, prompts=sessions))
