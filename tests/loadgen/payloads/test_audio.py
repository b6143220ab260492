from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from loadgen.payloads import audio
from loadgen.payloads.audio import (
    SAMPLE_RATE_HZ,
    WavError,
    encode_wav,
    generate_clips,
    read_wav_head,
)
from loadgen.workloads import FixedLength, GeneratedAudio, UniformLength

SILENCE = np.zeros(SAMPLE_RATE_HZ, np.int16)


def make_wav_head(data_bytes: int, before: bytes = b"") -> bytes:
    return encode_wav(SILENCE)[:36] + before + b"data" + struct.pack("<I", data_bytes)


def test_audio_clips_are_seeded_distinct_and_of_drawn_lengths() -> None:
    generated = GeneratedAudio(UniformLength(1, 3), unique=6)
    clips = list(generate_clips(generated, 5))
    same_seed, other_seed = list(generate_clips(generated, 5)), list(generate_clips(generated, 6))
    assert {clip.size // SAMPLE_RATE_HZ for clip in clips} == {1, 2, 3}
    assert all(np.array_equal(*pair) for pair in zip(clips, same_seed, strict=True))
    contents = {clip[:SAMPLE_RATE_HZ].tobytes() for clip in (*clips, *other_seed)}
    assert len(contents) == 12
    assert min(np.abs(clip.astype(int)).max() for clip in clips) > 3_000, "the voice must be audible"


def test_audio_clip_is_capped_at_maximum_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_CLIP_S", 45)
    (clip,) = generate_clips(GeneratedAudio(FixedLength(46), unique=1), 0)
    assert clip.size == 45 * SAMPLE_RATE_HZ


def test_encoded_wav_is_read_by_wave_module_and_by_own_reader() -> None:
    content = encode_wav(np.arange(2 * SAMPLE_RATE_HZ, dtype=np.int64).astype(np.int16))
    with wave.open(io.BytesIO(content)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, SAMPLE_RATE_HZ)
        assert reader.getnframes() == 2 * SAMPLE_RATE_HZ
    head = read_wav_head(content)
    assert head is not None
    assert head.compute_duration_s(len(content) - head.data_start) == 2.0


@pytest.mark.parametrize(
    ("declared", "received", "duration_s"),
    [(32_000, 40_000, 1.0), (0xFFFFFFFF, 16_000, 0.5), (0, 16_000, 0.5), (32_000, 16_000, 0.5)],
)
def test_duration_of_wav_with_wrong_size_is_based_on_received_bytes(
    declared: int, received: int, duration_s: float
) -> None:
    head = read_wav_head(make_wav_head(declared, before=b"LIST\x03\0\0\0abc\0"))
    assert head is not None
    assert head.compute_duration_s(received) == duration_s


def test_incomplete_wav_head_is_not_read() -> None:
    content = make_wav_head(4)
    heads = [read_wav_head(content[:length]) for length in range(len(content) + 1)]
    assert heads[:-1] == [None] * len(content)
    assert heads[-1] is not None


@pytest.mark.parametrize(
    "content",
    [
        b"ID3\x04mp3",
        b"RIFF\0\0\0\0AVI LIST",
        b"<html>",
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff" + bytes(20),
        b"RIFF\0\0\0\0WAVE" + b"junk\x08\0\0\0abcdefgh" * 5_000,
    ],
)
def test_invalid_wav_is_rejected(content: bytes) -> None:
    with pytest.raises(WavError):
        read_wav_head(content)
