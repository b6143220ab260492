"""Estimates with their basis, variants of a local model, and samples of the token lengths of
measured requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
"""Number of things, or index of a thing. A negative one is refused when a record is read."""
Basis = Literal["measured", "interpolated", "extrapolated", "assumed"]


class Estimate(msgspec.Struct, frozen=True):
    """A value with its uncertainty and basis. If no value can be stated, `value` is None and
    `reason` explains why.

    For a percentile with too few samples, `value` is None and `undersampled` is the percentile of
    these samples. An undersampled percentile is shown together with `n` and never used for a
    decision.
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    n: Count | None = None
    basis: Basis = "measured"
    reason: str | None = None
    undersampled: float | None = None


class Variant(msgspec.Struct, frozen=True):
    """One configuration for running a local model. `devices` lists the requested devices, by index
    or UUID; empty on a CPU."""

    model: str
    provider: str
    precision: str
    batch: Count
    threads: Count
    streams: Count = 1
    devices: tuple[str, ...] = ()

    @property
    def is_concurrent(self) -> bool:
        """True if the variant executes several calls at once."""
        return self.streams > 1 or len(self.devices) > 1

    @property
    def label(self) -> str:
        """Display label of the variant, such as `digits cpu int8-static, batch 8, 2 streams`. A
        single stream, a single device and the default number of threads are omitted."""
        return join_variant_label(self.label_parts)

    @property
    def label_parts(self) -> tuple[str, ...]:
        """Texts of the settings in the order of the label; empty for settings that it omits."""
        return (
            self.model,
            self.provider,
            self.precision,
            f"batch {self.batch}",
            f"{self.streams} streams" if self.streams > 1 else "",
            f"{self.threads} threads" if self.threads > 1 else "",
            f"devices {' + '.join(self.devices)}" if len(self.devices) > 1 else "",
        )


def join_variant_label(parts: Sequence[str]) -> str:
    """Join the texts of the settings of a variant to a label. Empty texts are left out."""
    leading_text = " ".join(filter(None, parts[:3]))
    return ", ".join(filter(None, (leading_text, *parts[3:])))


class TokenSample(msgspec.Struct, frozen=True):
    """Numbers of input and output tokens of completed requests. If there are many requests, the
    record holds an evenly spaced sample of them.

    Both columns are arrays of little-endian signed 32-bit integers with one entry per request, to
    keep results and plan files small. `app.analysis.token_samples` reads and writes the columns.
    """

    input_tokens: bytes
    output_tokens: bytes
