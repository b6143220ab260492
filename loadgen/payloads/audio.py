"""Generate audio clips, and read the format of WAV files.

A generated clip has the rhythm and the spectrum of a voice, but no words.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.payloads.lengths import draw_lengths
from loadgen.workloads import GeneratedAudio

SAMPLE_RATE_HZ = 16_000
"""Sampling rate of generated clips, which is that of speech recognition models."""
BYTES_PER_SAMPLE = 2
MAX_CLIP_S = 3_600

Samples = npt.NDArray[np.int16]

_VOICE_S = 20
_SYLLABLES_PER_S = 4
_PITCH_HZ = 125
_HARMONICS = 24
_FORMANTS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""Formants of the vowels of the voice."""
_FORMANT_WIDTH_HZ = 180
_PEAK = 12_000


def generate_clips(audio: GeneratedAudio, seed: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Iterator[Samples]:
    """Generate mono clips of distinct content, with lengths from the distribution of `audio`. Raises
    LengthError if the distribution is invalid."""
    rng = np.random.default_rng([seed, 1])
    lengths_s = np.minimum(draw_lengths(audio.seconds, audio.unique, rng), MAX_CLIP_S)
    voice = _resample(_generate_voice(), SAMPLE_RATE_HZ, sample_rate_hz)
    for length_s in lengths_s.tolist():
        yield np.resize(np.roll(voice, -int(rng.integers(voice.size))), length_s * sample_rate_hz)


@cache
def _generate_voice() -> Samples:
    """Generate the voice whose sections are the clips: a vowel of random pitch and loudness for each
    syllable, with pauses."""
    rng = np.random.default_rng(0)
    syllable_samples = SAMPLE_RATE_HZ // _SYLLABLES_PER_S
    times_s = np.arange(syllable_samples) / SAMPLE_RATE_HZ
    envelope = np.sin(np.pi * np.arange(syllable_samples) / syllable_samples) ** 0.5
    harmonics = np.arange(1, _HARMONICS + 1)[:, None]
    syllables = []
    for _ in range(_VOICE_S * _SYLLABLES_PER_S):
        pitch_hz = _PITCH_HZ * rng.uniform(0.85, 1.25)
        loudness = 0.0 if rng.random() < 0.15 else rng.uniform(0.4, 1.0)
        formants_hz = np.array(_FORMANTS_HZ[rng.integers(len(_FORMANTS_HZ))])
        distances = (harmonics * pitch_hz - formants_hz) / _FORMANT_WIDTH_HZ
        amplitudes = np.exp(-(distances**2)).sum(axis=1, keepdims=True) + 0.02
        wave = (amplitudes * np.sin(2 * np.pi * harmonics * pitch_hz * times_s)).sum(axis=0)
        syllables.append(loudness * envelope * wave / max(1e-9, float(np.abs(wave).max())))
    return (_PEAK * np.concatenate(syllables)).astype(np.int16)


def encode_wav(samples: Samples) -> bytes:
    """Return a WAV file with 16-bit mono samples of SAMPLE_RATE_HZ."""
    data = samples.astype("<i2").tobytes()
    form = struct.pack(
        "<HHIIHH", 1, 1, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE
    )
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


class WavHead(msgspec.Struct, frozen=True):
    """Head of a WAV file: the format of the samples, and the position of the samples in the file.

    `data_bytes` is the declared size of the samples. A server that streams a file does not know the
    size, and declares 0 or a very large number.
    """

    format_code: int
    channels: int
    sample_rate_hz: int
    bits_per_sample: int
    byte_rate: int
    data_start: int
    data_bytes: int

    def compute_duration_s(self, received_bytes: int) -> float:
        """Return the duration in s of the audio in a file with `received_bytes` bytes after its
        head."""
        is_declared = 0 < self.data_bytes < received_bytes
        return (self.data_bytes if is_declared else received_bytes) / self.byte_rate


class WavError(Exception):
    """Error that is raised for data that is not a WAV file."""


_PCM = 1
_MAX_HEAD_BYTES = 2**16
_MIN_FORMAT_BYTES = 16


def read_wav_head(data: bytes) -> WavHead | None:
    """Read the head at the start of a WAV file; None if `data` ends before the samples. Raises
    WavError for data that is not a WAV file."""
    if not b"RIFF".startswith(data[:4]) or (len(data) >= 12 and data[8:12] != b"WAVE"):
        raise WavError("the audio is not a WAV file")
    position, form = 12, b""
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        start = position + 8
        if name == b"data":
            return _build_head(form, start, size)
        if name == b"fmt ":
            form = data[start : start + size]
        position = start + size + size % 2
    if position > _MAX_HEAD_BYTES or len(data) > _MAX_HEAD_BYTES:
        raise WavError(f"the head of the WAV file exceeds {_MAX_HEAD_BYTES >> 10} KiB")
    return None


def _build_head(form: bytes, data_start: int, data_bytes: int) -> WavHead:
    if len(form) < _MIN_FORMAT_BYTES:
        raise WavError("the WAV file has no format before its samples")
    code, channels, sample_rate_hz, byte_rate, _, bits = struct.unpack_from("<HHIIHH", form)
    if not (channels and sample_rate_hz and byte_rate):
        raise WavError("the format of the WAV file is invalid")
    return WavHead(code, channels, sample_rate_hz, bits, byte_rate, data_start, data_bytes)


def decode_wav(content: bytes, sample_rate_hz: int) -> Samples:
    """Return the samples of a WAV file as mono at the sampling rate. Raises WavError unless the file
    has 16-bit samples."""
    head = read_wav_head(content)
    if head is None or (head.format_code, head.bits_per_sample) != (_PCM, 8 * BYTES_PER_SAMPLE):
        raise WavError("the WAV file has no 16-bit samples")
    data = content[head.data_start :]
    data = data[: head.data_bytes] if head.data_bytes > 0 else data
    frame_bytes = BYTES_PER_SAMPLE * head.channels
    frames = np.frombuffer(data[: len(data) // frame_bytes * frame_bytes], "<i2").reshape(-1, head.channels)
    if not frames.size:
        raise WavError("the WAV file has no samples")
    samples = frames[:, 0] if head.channels == 1 else frames.mean(axis=1).astype(np.int16)
    return _resample(samples.astype(np.int16), head.sample_rate_hz, sample_rate_hz)


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return the samples at another sampling rate, linearly interpolated."""
    if from_hz == to_hz:
        return samples
    size = max(1, round(samples.size * to_hz / from_hz))
    positions = np.arange(size) * (from_hz / to_hz)
    resampled: Samples = np.interp(positions, np.arange(samples.size), samples).astype(np.int16)
    return resampled
