"""Generate images and audio clips for prompts.

A tenth of the pixels of an image is random. An image thus takes about 0.3 bytes per pixel, which is
typical of a photo as JPEG, and no two images are the same.
"""

from __future__ import annotations

import io
import wave
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np

from loadgen.workloads import AudioClips, Images

SAMPLES_PER_S = 16_000
"""Sample rate of the clips, which is that of Whisper and of most other models for speech."""
_MEDIA_STREAM = 6
"""Identifier of the random stream for media, which differs from those of lengths, think times,
parallel requests, tools and documents."""
_NOISE_SHARE = 0.1
_BAND_ROWS = 64
_MAX_AMPLITUDE = 3000
_MAX_STORED_BYTES = 65_535
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Media(msgspec.Struct, frozen=True):
    """Image (PNG) or audio clip (WAV) of a prompt, in Base64."""

    kind: Literal["image", "audio"]
    data: str


class MediaGenerator:
    """Generator of the images and audio clips of one prompt after another. Shared images and clips
    are generated only once."""

    def __init__(self, images: Images | None, audio: AudioClips | None, seed: int) -> None:
        self._rng = np.random.default_rng([seed, _MEDIA_STREAM])
        self._images = iter(()) if images is None else self._iterate_images(images)
        self._clips = iter(()) if audio is None else self._iterate_clips(audio)
        self._image_count = 0 if images is None else images.count
        self._clip_count = 0 if audio is None else audio.count

    def generate(self) -> tuple[Media, ...]:
        """Return the images and the clips of the next prompt."""
        images = [next(self._images) for _ in range(self._image_count)]
        return (*images, *(next(self._clips) for _ in range(self._clip_count)))

    def _iterate_images(self, images: Images) -> Iterator[Media]:
        writer = _PngWriter(images.width, images.height)
        shared: list[Media] = []
        while images.unique is None or len(shared) < images.unique:
            image = Media("image", b64encode(writer.write(self._rng)).decode())
            if images.unique is not None:
                shared.append(image)
            yield image
        while True:
            yield from shared

    def _iterate_clips(self, audio: AudioClips) -> Iterator[Media]:
        shared: list[Media] = []
        while audio.unique is None or len(shared) < audio.unique:
            clip = Media("audio", b64encode(_write_wav(audio.duration_s, self._rng)).decode())
            if audio.unique is not None:
                shared.append(clip)
            yield clip
        while True:
            yield from shared


class _PngWriter:
    """Writer of PNG images of one size, which have bands of a color gradient above random pixels.
    The bands are compressed only once."""

    def __init__(self, width: int, height: int) -> None:
        noise_height = max(1, round(height * _NOISE_SHARE))
        self._noise_shape = (noise_height, width, 3)
        gradient = np.zeros((height - noise_height, width, 3), np.uint8)
        gradient[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
        gradient[..., 1] = (np.arange(len(gradient)) // _BAND_ROWS * _BAND_ROWS % 256)[:, None]
        content = _build_rows(gradient)
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        # A full flush ends at a byte, so that stored blocks can follow.
        self._start = b"\x78\x01" + compressor.compress(content) + compressor.flush(zlib.Z_FULL_FLUSH)
        self._checksum = zlib.adler32(content)
        header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"  # 8 bits per channel, RGB
        self._head = _PNG_SIGNATURE + _build_chunk(b"IHDR", header)

    def write(self, rng: np.random.Generator) -> bytes:
        noise = _build_rows(rng.integers(0, 256, self._noise_shape, np.uint8))
        data = (self._start, *_store(noise), zlib.adler32(noise, self._checksum).to_bytes(4))
        return self._head + _build_chunk(b"IDAT", b"".join(data)) + _build_chunk(b"IEND", b"")


def _build_rows(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """Return the rows of an image, each after the byte 0, which means that the row has no filter."""
    rows = pixels.reshape(len(pixels), pixels.shape[1] * 3)
    return np.pad(rows, ((0, 0), (1, 0))).tobytes()


def _store(content: bytes) -> Iterator[bytes]:
    """Yield stored blocks of the Deflate format, which are not compressed. The last one ends the
    stream."""
    for start in range(0, len(content), _MAX_STORED_BYTES):
        block = content[start : start + _MAX_STORED_BYTES]
        is_last = start + _MAX_STORED_BYTES >= len(content)
        size = len(block)
        yield bytes([is_last]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + block


def _build_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(content, zlib.crc32(kind)).to_bytes(4)


def _write_wav(duration_s: float, rng: np.random.Generator) -> bytes:
    sample_count = max(1, round(duration_s * SAMPLES_PER_S))
    samples = rng.integers(-_MAX_AMPLITUDE, _MAX_AMPLITUDE, sample_count, np.int16)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLES_PER_S)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()
