"""Decoders with random weights, small enough to be written in a test."""

from pathlib import Path

from app.inference.generation.decoder_files import write_random_decoder
from app.inference.generation.decoder_shape import DecoderShape, PagedCache, WeightBits

SEED = 7


def shape(bits: WeightBits = 32, *, vocabulary: int = 512, context: int = 2048) -> DecoderShape:
    """Return the shape of a decoder whose files have about 0.6 MB."""
    return DecoderShape(
        layers=2,
        hidden=64,
        heads=4,
        kv_heads=2,
        feed_forward=128,
        vocabulary=vocabulary,
        context=context,
        weight_bits=bits,
    )


def contiguous(folder: Path, bits: WeightBits = 32) -> Path:
    """Write a decoder with static batching, and return its folder."""
    write_random_decoder(folder, shape(bits), SEED)
    return folder


def paged(folder: Path, bits: WeightBits = 32, cache: PagedCache | None = None) -> Path:
    """Write a decoder with continuous batching, with the same weights, and return its folder."""
    write_random_decoder(folder, shape(bits), SEED, cache or PagedCache())
    return folder
