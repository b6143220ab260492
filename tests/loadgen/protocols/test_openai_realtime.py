from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadgen.payloads.audio import SAMPLE_RATE_HZ, encode_wav
from loadgen.protocols.openai_realtime import RealtimeDialog, build_realtime
from loadgen.protocols.prepared import PreparedWorkload, WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import MediaDetails
from loadgen.workloads import Dataset, FixedLength, GeneratedAudio, RealtimeWorkload
from tests.fakes.realtime_server import DONE, audio_delta

MS = 1_000_000
WORKLOAD = RealtimeWorkload("m", GeneratedAudio(FixedLength(1), unique=3), sample_rate_hz=8_000, chunk_s=0.02)
AUDIO = bytes(range(200)) * 4
"""50 ms at 8 kHz."""


def prepare(workload: RealtimeWorkload, url: str = "http://h/v1") -> PreparedWorkload:
    return build_realtime(workload, Endpoint((url,), headers=(("Authorization", "Bearer x"),)), parse_url(url))


def open_dialog() -> RealtimeDialog:
    dialog = RealtimeDialog(WORKLOAD, "settings")
    dialog.open(AUDIO)
    return dialog


def feed(dialog: RealtimeDialog, event: object, at_ns: int = 0) -> str | None:
    return dialog.feed(msgspec.json.encode(event), at_ns)


def test_audio_chunks_are_sent_in_real_time() -> None:
    dialog = open_dialog()
    assert dialog.take_messages(0) == ([], None), "the session has not started"
    assert feed(dialog, {"type": "session.created"}, 1_000 * MS) is None
    assert dialog.take_messages(1_000 * MS) == (["settings"], 1_020 * MS)
    (first,), next_ns = dialog.take_messages(1_020 * MS)
    assert next_ns == 1_040 * MS
    late, end = dialog.take_messages(1_055 * MS)
    assert end is None
    events = [msgspec.json.decode(message) for message in (first, *late)]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:3]) == AUDIO
    assert [len(base64.b64decode(event["audio"])) for event in events[:3]] == [320, 320, 160]
    assert events[3:] == [{"type": "input_audio_buffer.commit"}, {"type": "response.create"}]
    assert dialog.take_messages(2_000 * MS) == ([], None)
    assert dialog.media.input_end_ns == 1_055 * MS
    assert dialog.extend_deadline(7) == 7 + 50 * MS


@pytest.mark.parametrize(
    ("events", "audio_s"),
    [
        ([audio_delta(4_800)] * 2, 0.2),
        ([audio_delta(4_800, "response.audio.delta"), {"type": "response.audio_transcript.delta", "delta": "hi"}], 0.1),
        ([{"type": "response.output_audio.delta", "audio": "AAAA", "sample_rate_hz": 8_000}], 3 / 16_000),
        ([{**audio_delta(4_800), "sample_rate_hz": -1}], 0.1),
        ([audio_delta(0), audio_delta(48)], 0.001),
    ],
)
def test_audio_deltas_of_both_api_versions_are_read(events: list[object], audio_s: float) -> None:
    dialog = open_dialog()
    feed(dialog, {"type": "session.created"}, MS)
    dialog.take_messages(100 * MS)
    for at_ms, event in enumerate(events, start=101):
        assert feed(dialog, event, at_ms * MS) is None
        assert not dialog.is_complete
    assert feed(dialog, DONE, 200 * MS) is None
    assert dialog.is_complete
    first_ms = 102 if len(events) > 1 and events[0] == audio_delta(0) else 101
    assert dialog.media.audio_s == pytest.approx(audio_s)
    assert dialog.media == MediaDetails(100 * MS, first_ms * MS, dialog.media.audio_s)


def test_realtime_request_is_upgrade_followed_by_audio() -> None:
    prepared = prepare(WORKLOAD, "https://h:1/base/?key=1")
    assert len(prepared.requests) == 3
    head, _, audio = prepared.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"GET /base/realtime?model=m&key=1 HTTP/1.1\r\nHost: h:1\r\n")
    assert b"\r\nAuthorization: Bearer x" in head
    assert b"Content-Length" not in head
    assert len(audio) == 2 * 8_000
    assert prepared.label == "GET https://h:1/base/realtime"


def test_files_are_resampled_and_files_without_samples_are_skipped(tmp_path: Path) -> None:
    sine = np.sin(np.arange(SAMPLE_RATE_HZ) / 40)
    samples = (10_000 * sine).astype(np.int16)
    (tmp_path / "a.wav").write_bytes(encode_wav(samples))
    (tmp_path / "b.mp3").write_bytes(b"ID3")
    (tmp_path / "c.wav").write_bytes(encode_wav(samples[:0]))
    folder = msgspec.structs.replace(WORKLOAD, generated=None, dataset=Dataset(str(tmp_path), "folder"))
    prepared = prepare(folder)
    (request,) = prepared.requests
    sent = np.frombuffer(request.partition(b"\r\n\r\n")[2], "<i2")
    assert sent.size == 8_000
    assert np.abs(sent - samples[::2]).max() <= 1
    assert prepared.notes == (
        "2 files of the folder were not sent, because they are not WAV files with 16-bit samples",
    )
    (tmp_path / "a.wav").unlink()
    with pytest.raises(WorkloadError, match="no WAV files"):
        prepare(folder)
