"""An estimate with its basis, the variant of a local model, and joint token lengths of measured requests."""

from __future__ import annotations

from typing import Literal

import msgspec

Basis = Literal["measured", "interpolated", "extrapolated", "assumed"]


class Estimate(msgspec.Struct, frozen=True):
    """A number with its uncertainty and basis. A withheld value is None with its `reason`.

    A percentile of too few samples is withheld. `undersampled` is then the percentile of those samples, which readers
    see with `n`; nothing is decided by it.
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    basis: Basis = "measured"
    reason: str | None = None
    undersampled: float | None = None


class Variant(msgspec.Struct, frozen=True):
    """One way to run a local model. `devices` are those requested, by index or UUID; empty on a CPU."""

    model: str
    provider: str
    precision: str
    batch: int
    threads: int
    streams: int = 1
    devices: tuple[str, ...] = ()

    @property
    def is_concurrent(self) -> bool:
        """True if the variant makes several calls at once."""
        return self.streams > 1 or len(self.devices) > 1

    @property
    def label(self) -> str:
        """Label such as `digits cpu int8-static, batch 8, 2 streams`; a count of 1 and the runtime's default number of
        threads are omitted."""
        parts = [f"{self.model} {self.provider} {self.precision}", f"batch {self.batch}"]
        parts += [f"{self.streams} streams"] if self.streams > 1 else []
        parts += [f"{self.threads} threads"] if self.threads > 1 else []
        parts += [f"devices {' + '.join(self.devices)}"] if len(self.devices) > 1 else []
        return ", ".join(parts)


class TokenSample(msgspec.Struct, frozen=True):
    """Input and output tokens of completed requests: all of them, or an even sample of many.

    Both columns are arrays of little-endian signed 32-bit integers, one entry per request, which keeps results and plan
    files small. `app.analysis.token_samples` reads and writes them.
    """

    input_tokens: bytes
    output_tokens: bytes
