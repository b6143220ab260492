"""Prepare dialogs of the OpenAI Realtime API, and conduct them: audio in real time, then one spoken
response. The events of the released API and of its beta are read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.audio import BYTES_PER_SAMPLE, Samples, WavError, decode_wav, generate_clips
from loadgen.payloads.datasets import DatasetError, DatasetReader, draw_indices
from loadgen.payloads.lengths import LengthError
from loadgen.protocols.http import build_omitted_request_notes, encode_request
from loadgen.protocols.openai_bodies import decode_extra_body
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    PreparedWorkload,
    ResponseCheck,
    WorkloadError,
    classify_status,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, MediaDetails
from loadgen.transport.websocket import KEY
from loadgen.workloads import RealtimeWorkload

_SWITCHING_PROTOCOLS = 101
_MAX_RATE_HZ = 384_000
_AUDIO_EVENTS = ("response.output_audio.delta", "response.audio.delta")
_FAILED_STATUSES = ("failed", "cancelled")
_UPGRADE_HEADERS = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY.decode()),
]


class _ClipReader:
    """Reader of the audio of a workload. After the iteration, `skipped_count` is the number of files
    that are not WAV files with 16-bit samples."""

    def __init__(self, workload: RealtimeWorkload) -> None:
        self._workload = workload
        self._reader = None if workload.dataset is None else DatasetReader(workload.dataset, MAX_REQUESTS_BYTES)
        self.skipped_count = 0
        self.is_truncated = False

    def __iter__(self) -> Iterator[Samples]:
        workload = self._workload
        if self._reader is None:
            assert workload.generated is not None
            yield from generate_clips(workload.generated, workload.seed, workload.sample_rate_hz)
            return
        for row in self._reader:
            try:
                yield decode_wav(row.content or b"", workload.sample_rate_hz)
            except WavError:
                self.skipped_count += 1
        self.is_truncated = self._reader.is_truncated


def build_realtime(workload: RealtimeWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare a workload of realtime dialogs. Raises WorkloadError if the requests cannot be
    built."""
    base_path, _, query = address.path.partition("?")
    path = f"{base_path.rstrip('/')}/realtime"
    target = f"{path}?model={quote(workload.model, safe='')}" + (f"&{query}" if query else "")
    head = encode_request("GET", target, address, [*_UPGRADE_HEADERS, *endpoint.headers], None)
    session = msgspec.json.encode({"type": "session.update", "session": decode_extra_body(workload.session)}).decode()
    clips, requests, total_bytes, is_truncated = _ClipReader(workload), list[bytes](), 0, False
    try:
        for samples in clips:
            request = head + samples.astype("<i2").tobytes()
            total_bytes += len(request)
            if requests and total_bytes > MAX_REQUESTS_BYTES:
                is_truncated = True
                break
            requests.append(request)
    except (DatasetError, LengthError) as error:
        raise WorkloadError(str(error)) from error
    if not requests:
        raise WorkloadError("the folder has no WAV files with 16-bit samples", hint="Convert its files, or use audio.")
    notes = build_omitted_request_notes(requests, is_truncated or clips.is_truncated)
    if clips.skipped_count:
        notes = (
            *notes,
            f"{clips.skipped_count:,} files of the folder were not sent, because they are not WAV files with 16-bit "
            "samples",
        )
    return PreparedWorkload(
        requests=requests,
        check=check_dialog,
        label=f"GET {address.format_url(path)}",
        new_reader=lambda: RealtimeDialog(workload, session),
        request_indices=draw_indices(workload.popularity, len(requests), workload.seed),
        notes=notes,
    )


def check_dialog(exchange: Exchange) -> ResponseCheck:
    """Check the end of a dialog. A server that does not upgrade the connection has another
    protocol."""
    status, reader = exchange.status or 0, exchange.reader
    if status != _SWITCHING_PROTOCOLS or not isinstance(reader, RealtimeDialog):
        return ResponseCheck(classify_status(status) or "bad-payload")
    exchange.media = reader.media
    return RESPONSE_OK


class _RealtimeResponse(msgspec.Struct, gc=False):
    status: str | None = None


class _ServerEvent(msgspec.Struct, gc=False):
    """Event of the server. vLLM-Omni calls the audio of a delta `audio`, and states its rate."""

    event_type: str = msgspec.field(name="type")
    delta: object = None
    audio: object = None
    sample_rate_hz: object = None
    response: _RealtimeResponse | None = None


_decode_event = json_decoder(_ServerEvent)


def _encode_event(event_type: str, **fields: Any) -> str:
    return msgspec.json.encode({"type": event_type, **fields}).decode()


class RealtimeDialog:
    """One dialog: it waits for the session, sends the settings and the audio in real time, commits
    the audio, and reads the response to its end."""

    __slots__ = (
        "_audio",
        "_chunk_bytes",
        "_chunk_ns",
        "_first_audio_ns",
        "_input_end_ns",
        "_output_bytes",
        "_output_rate_hz",
        "_rate_hz",
        "_settings",
        "_start_ns",
        "_taken_bytes",
        "detail",
        "is_complete",
    )

    def __init__(self, workload: RealtimeWorkload, session: str) -> None:
        self._settings = [session]
        self._rate_hz = workload.sample_rate_hz
        self._output_rate_hz = workload.output_sample_rate_hz
        self._chunk_bytes = max(1, round(workload.chunk_s * workload.sample_rate_hz)) * BYTES_PER_SAMPLE
        self._audio = b""
        self._start_ns: int | None = None
        self._taken_bytes = 0
        self._input_end_ns: int | None = None
        self._first_audio_ns: int | None = None
        self._output_bytes = 0
        self.is_complete = False
        self.detail: str | None = None

    @property
    def tokens(self) -> None:
        return None

    @property
    def media(self) -> MediaDetails:
        duration_s = self._output_bytes / (self._output_rate_hz * BYTES_PER_SAMPLE)
        return MediaDetails(self._input_end_ns, self._first_audio_ns, duration_s)

    def open(self, content: bytes) -> None:
        self._audio = content

    def extend_deadline(self, deadline_ns: int) -> int:
        """Return the deadline after the input audio, which takes its own duration to send."""
        return deadline_ns + self._compute_offset_ns(len(self._audio))

    def take_messages(self, now_ns: int) -> tuple[list[str], int | None]:
        """Return the messages that are due. A piece of the audio is sent when it would have been
        recorded, which is its own duration after the piece before it."""
        if self._start_ns is None or self._input_end_ns is not None:
            return [], None
        messages, self._settings = self._settings, []
        while self._taken_bytes < len(self._audio):
            piece = self._audio[self._taken_bytes : self._taken_bytes + self._chunk_bytes]
            due_ns = self._start_ns + self._compute_offset_ns(self._taken_bytes + len(piece))
            if due_ns > now_ns:
                return messages, due_ns
            messages.append(_encode_event("input_audio_buffer.append", audio=base64.b64encode(piece).decode()))
            self._taken_bytes += len(piece)
        messages += [_encode_event("input_audio_buffer.commit"), _encode_event("response.create")]
        self._input_end_ns = now_ns
        return messages, None

    def feed(self, data: bytes, received_ns: int) -> str | None:
        try:
            event = _decode_event(data)
        except msgspec.DecodeError:
            return self._set_failure("bad-payload", "a message is not an event of the Realtime API")
        if event.event_type == "error":
            return self._set_failure("bad-output", "the server reported an error")
        if self._start_ns is None:
            if event.event_type != "session.created":
                return self._set_failure("bad-payload", "the server does not begin with the event session.created")
            self._start_ns = received_ns
        elif event.event_type in _AUDIO_EVENTS:
            return self._add_audio(event, received_ns)
        elif event.event_type == "response.done":
            return self._end(event)
        return None

    def _add_audio(self, event: _ServerEvent, received_ns: int) -> str | None:
        delta = event.audio if event.delta is None else event.delta
        try:
            size = len(base64.b64decode(delta, validate=True)) if isinstance(delta, str) else -1
        except (binascii.Error, ValueError):
            size = -1
        if size < 0:
            return self._set_failure("bad-payload", "the audio of an event is not base64")
        if self._input_end_ns is None:
            return self._set_failure("bad-output", "the server responds before the end of the audio")
        rate_hz = event.sample_rate_hz
        if type(rate_hz) is int and 0 < rate_hz <= _MAX_RATE_HZ:
            self._output_rate_hz = rate_hz
        if size and self._first_audio_ns is None:
            self._first_audio_ns = received_ns
        self._output_bytes += size
        return None

    def _end(self, event: _ServerEvent) -> str | None:
        if event.response is not None and event.response.status in _FAILED_STATUSES:
            return self._set_failure("bad-output", "the response failed or was cancelled")
        if self._first_audio_ns is None:
            return self._set_failure("bad-output", "the response contains no audio")
        self.is_complete = True
        return None

    def _set_failure(self, error: str, detail: str) -> str:
        self.detail = detail
        return error

    def _compute_offset_ns(self, audio_bytes: int) -> int:
        return audio_bytes * 1_000_000_000 // (self._rate_hz * BYTES_PER_SAMPLE)
