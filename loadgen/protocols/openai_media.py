"""Prepare transcriptions, and read the responses of the OpenAI APIs for speech, transcriptions and
images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from mimetypes import guess_type
from typing import Any, Literal, get_args

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.audio import (
    BYTES_PER_SAMPLE,
    SAMPLE_RATE_HZ,
    WavError,
    WavHead,
    encode_wav,
    generate_clips,
    read_wav_head,
)
from loadgen.payloads.datasets import DatasetError, DatasetReader, draw_indices
from loadgen.payloads.lengths import LengthError
from loadgen.protocols.http import RequestParts, build_omitted_request_notes, encode_within_memory
from loadgen.protocols.openai_bodies import decode_extra_body
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    CheckResponse,
    PreparedWorkload,
    ResponseCheck,
    WorkloadError,
    classify_status,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, Headers, MediaDetails, find_header
from loadgen.workloads import TranscriptionWorkload

AudioFormat = Literal["pcm", "wav", "mp3", "opus", "aac", "flac"]
"""Format of generated speech. `pcm` is 16-bit mono without a head."""
TranscriptFormat = Literal["json", "verbose_json", "text", "srt", "vtt"]
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".mp4", ".mpeg", ".mpga", ".m4a", ".ogg", ".oga", ".opus", ".webm")
_MAX_NAME_CHARS = 100

Fields = Mapping[str, Any]


# Transcriptions


class _Clip(msgspec.Struct, frozen=True):
    """Audio file of a request, with its duration in s; None if the duration is unknown."""

    name: str
    content: bytes
    duration_s: float | None


class _ClipSource:
    """Source of the audio files of a workload. After the iteration, `skipped_count` is the number of
    other files in the folder, and `is_truncated` is true if the memory limit was reached."""

    def __init__(self, workload: TranscriptionWorkload) -> None:
        self._workload = workload
        self._reader = None if workload.dataset is None else DatasetReader(workload.dataset, MAX_REQUESTS_BYTES)
        self.skipped_count = 0

    @property
    def is_truncated(self) -> bool:
        return self._reader is not None and self._reader.is_truncated

    def __iter__(self) -> Iterator[_Clip]:
        if self._reader is None:
            assert self._workload.generated is not None
            for index, samples in enumerate(generate_clips(self._workload.generated, self._workload.seed)):
                yield _Clip(f"clip-{index}.wav", encode_wav(samples), samples.size / SAMPLE_RATE_HZ)
            return
        for row in self._reader:
            if row.content is None or not row.name.lower().endswith(AUDIO_SUFFIXES):
                self.skipped_count += 1
            else:
                yield _Clip(row.name, row.content, _read_duration_s(row.content))


def _read_duration_s(content: bytes) -> float | None:
    try:
        head = read_wav_head(content)
    except WavError:
        return None
    return None if head is None else head.compute_duration_s(len(content) - head.data_start)


def build_transcriptions(workload: TranscriptionWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare a workload of transcriptions. Raises WorkloadError if the requests cannot be built."""
    base_path, _, query = address.path.partition("?")
    path = f"{base_path.rstrip('/')}/audio/transcriptions" + (f"?{query}" if query else "")
    fields = {"model": workload.model, "response_format": "json", **decode_extra_body(workload.fields)}
    transcript_format = fields["response_format"]
    if transcript_format not in get_args(TranscriptFormat):
        raise WorkloadError(
            f"the format {transcript_format!r} of transcripts is not supported",
            hint=f"Use {', '.join(get_args(TranscriptFormat))}.",
        )
    source, durations_s = _ClipSource(workload), list[float | None]()

    def build_requests() -> Iterator[RequestParts]:
        for clip in source:
            durations_s.append(clip.duration_s)
            body, content_type = encode_form(fields, clip.name, clip.content)
            yield RequestParts(path, body, content_type)

    try:
        requests, is_truncated = encode_within_memory(build_requests(), "POST", endpoint, address)
    except (DatasetError, LengthError) as error:
        raise WorkloadError(str(error)) from error
    if not requests:
        raise WorkloadError(
            "the folder has no audio files", hint=f"The names of audio files end in {', '.join(AUDIO_SUFFIXES)}."
        )
    return PreparedWorkload(
        requests=requests,
        check=_build_transcript_check(transcript_format, durations_s),
        label=f"POST {address.format_url(path)}",
        request_indices=draw_indices(workload.popularity, len(requests), workload.seed),
        notes=(
            *build_omitted_request_notes(requests, is_truncated or source.is_truncated),
            *_build_clip_notes(source.skipped_count, durations_s[: len(requests)]),
        ),
    )


def _build_clip_notes(skipped_count: int, durations_s: list[float | None]) -> Iterator[str]:
    if skipped_count:
        yield f"{skipped_count:,} files of the folder were not sent, because their names are not those of audio files"
    if unknown_count := durations_s.count(None):
        yield (
            f"the duration of {unknown_count:,} audio files is unknown, because they are not WAV files, so they do not "
            "count toward the real-time factor"
        )


def encode_form(fields: Fields, file_name: str, content: bytes) -> tuple[bytes, str]:
    """Encode a form with a file as multipart/form-data. Return the body and its content type.

    The values of a list become fields with the same name, which ends in [].
    """
    parts: list[bytes] = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        field_name = f"{name}[]" if isinstance(value, list) and not name.endswith("[]") else name
        parts += [_encode_part(f'name="{_quote(field_name)}"', _format_field(item).encode()) for item in values]
    media_type = guess_type(file_name)[0] or "application/octet-stream"
    disposition = f'name="file"; filename="{_quote(file_name)}"\r\nContent-Type: {media_type}'
    parts.append(_encode_part(disposition, content))
    boundary = _build_boundary(parts)
    lines = (b"--", boundary, b"\r\n")
    body = b"".join([b"".join((*lines, part)) for part in parts] + [b"--", boundary, b"--\r\n"])
    return body, f"multipart/form-data; boundary={boundary.decode()}"


def _encode_part(disposition: str, content: bytes) -> bytes:
    return f"Content-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def _quote(name: str) -> str:
    """Return a name in which the characters that end a quoted name are percent-encoded, as browsers
    do."""
    escaped = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    return escaped.encode("utf-8", "replace").decode()[-_MAX_NAME_CHARS:]


def _format_field(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _build_boundary(parts: list[bytes]) -> bytes:
    """Return a boundary that no part contains, because it is a hash of all parts."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return b"sizewise-" + digest.hexdigest().encode()


class _Transcript(msgspec.Struct):
    text: str | None = None
    error: object = None


_decode_transcript = json_decoder(_Transcript)


def _build_transcript_check(transcript_format: str, durations_s: list[float | None]) -> CheckResponse:
    check_transcript = _check_json_transcript if "json" in transcript_format else _check_text_transcript

    def check(exchange: Exchange) -> ResponseCheck:
        error = classify_status(exchange.status or 0) or check_transcript(exchange)
        if error is not None:
            return ResponseCheck(error)
        exchange.media = MediaDetails(audio_s=durations_s[exchange.request_index])
        return RESPONSE_OK

    return check


def _check_json_transcript(exchange: Exchange) -> str | None:
    try:
        transcript = _decode_transcript(exchange.body)
    except msgspec.DecodeError:
        exchange.detail = "the response is not a JSON object with a transcript"
        return "bad-payload"
    if transcript.error:
        return "bad-output"
    if transcript.text is None:
        exchange.detail = "the response has no `text`"
        return "bad-payload"
    return None


def _check_text_transcript(exchange: Exchange) -> str | None:
    """Check a transcript as text. Some servers send it as a JSON string. A server of another protocol
    sends a web page or a JSON object instead."""
    body = exchange.body.strip()
    if body.startswith(b"{"):
        return "bad-output" if _check_json_transcript(exchange) == "bad-output" else "bad-payload"
    content_type = (find_header(exchange.headers, b"content-type") or b"text/plain").lower()
    if content_type.startswith((b"text/html", b"image/", b"audio/")):
        exchange.detail = "the response is not a transcript as text"
        return "bad-payload"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "bad-payload"
    return None


# Speech


_NO_AUDIO_DETAIL = "the response contains no audio"
_NO_AUDIO_TYPES = (b"text/", b"application/json", b"application/problem+json", b"image/", b"multipart/")


class SpeechReader:
    """Reader of generated speech, which counts the audio without storing it.

    The first audio is the first sample of a WAV file or of PCM, and the first byte of other formats,
    whose duration is unknown.
    """

    __slots__ = ("_audio_bytes", "_byte_rate", "_first_audio_ns", "_format", "_head", "_start", "detail")

    def __init__(self, audio_format: AudioFormat, sample_rate_hz: int) -> None:
        self._format = audio_format
        self._byte_rate = sample_rate_hz * BYTES_PER_SAMPLE
        self._start = bytearray()
        self._head: WavHead | None = None
        self._first_audio_ns: int | None = None
        self._audio_bytes = 0
        self.detail: str | None = None

    @property
    def tokens(self) -> None:
        return None

    @property
    def media(self) -> MediaDetails:
        """Audio that was received so far."""
        duration_s: float | None = None
        if self._head is not None:
            duration_s = self._head.compute_duration_s(self._audio_bytes)
        elif self._format == "pcm":
            duration_s = self._audio_bytes / self._byte_rate
        return MediaDetails(first_audio_ns=self._first_audio_ns, audio_s=duration_s)

    def feed(self, data: bytes, received_ns: int) -> str | None:
        audio_bytes = len(data)
        if self._format == "wav" and self._head is None:
            self._start += data
            try:
                self._head = read_wav_head(bytes(self._start))
            except WavError as error:
                self.detail = str(error)
                return "bad-payload"
            if self._head is None:
                return None
            audio_bytes = len(self._start) - self._head.data_start
            self._start.clear()
        if audio_bytes and self._first_audio_ns is None:
            self._first_audio_ns = received_ns
        self._audio_bytes += audio_bytes
        return None

    def end(self, headers: Headers) -> str | None:
        """Finish reading after the body has ended. Return the error class of the response, or None
        if it is valid."""
        content_type = (find_header(headers, b"content-type") or b"").strip().lower()
        if content_type.startswith(_NO_AUDIO_TYPES):
            self.detail = "the response is not audio"
            return "bad-payload"
        if self._first_audio_ns is None:
            self.detail = _NO_AUDIO_DETAIL
            return "bad-output"
        return None


def build_speech_reader_factory(extra_body: bytes, sample_rate_hz: int) -> Callable[[], SpeechReader]:
    """Build a function that creates the reader of a response in the format that `extra_body` requests.
    Raises WorkloadError for an unknown format."""
    audio_format = decode_extra_body(extra_body).get("response_format", "mp3")
    if audio_format not in get_args(AudioFormat):
        raise WorkloadError(
            f"the audio format {audio_format!r} is not supported", hint=f"Use {', '.join(get_args(AudioFormat))}."
        )
    return lambda: SpeechReader(audio_format, sample_rate_hz)


def check_speech(exchange: Exchange) -> ResponseCheck:
    error, reader = classify_status(exchange.status or 0), exchange.reader
    if error is None and isinstance(reader, SpeechReader):
        error, exchange.detail = reader.end(exchange.headers), reader.detail
        exchange.media = reader.media
    return RESPONSE_OK if error is None else ResponseCheck(error)


# Images


class _Image(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Images(msgspec.Struct):
    data: list[_Image] | None = None
    error: object = None


_decode_images = json_decoder(_Images)


def build_image_check(extra_body: bytes) -> CheckResponse:
    """Build the check of responses with images, whose number `extra_body` requests as `n`. A response
    is JSON, or a single image as a file."""
    requested_count = decode_extra_body(extra_body).get("n", 1)

    def check(exchange: Exchange) -> ResponseCheck:
        error = classify_status(exchange.status or 0)
        if error is not None:
            return ResponseCheck(error)
        count, error = _count_images(exchange)
        if error is None and count != requested_count:
            error, exchange.detail = "bad-output", f"the response has {count} images instead of {requested_count}"
        if error is not None:
            return ResponseCheck(error)
        exchange.media = MediaDetails(images=count)
        return RESPONSE_OK

    return check


def _count_images(exchange: Exchange) -> tuple[int, str | None]:
    """Return the number of images in a response, and an error class if the response has none."""
    content_type = (find_header(exchange.headers, b"content-type") or b"").strip().lower()
    if content_type.startswith(b"image/"):
        return (1, None) if exchange.body else (0, "bad-output")
    try:
        response = _decode_images(exchange.body)
    except msgspec.DecodeError:
        exchange.detail = "the response is neither an image nor a JSON object with images"
        return 0, "bad-payload"
    if response.error:
        return 0, "bad-output"
    if response.data is None:
        exchange.detail = "the response has no `data`"
        return 0, "bad-payload"
    return sum(bool(image.b64_json or image.url) for image in response.data), None
