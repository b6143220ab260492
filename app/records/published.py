"""What others measured and published, as dated facts."""

from __future__ import annotations

import datetime

import msgspec


class PublishedResult(msgspec.Struct, frozen=True):
    """One submission's throughput, of all its accelerators together. `date` is that of the run's own log.

    `dtype` is what most of the arithmetic is done in; results are alike only within a round, runtime and dtype.
    """

    round: str
    date: datetime.date
    submitter: str
    system: str
    accelerator_key: str
    accelerator_count: int
    model: str
    scenario: str
    runtime: str
    dtype: str
    samples_per_s: float
    tokens_per_s: float | None
    source: str

    @property
    def samples_per_s_each(self) -> float:
        """A samples rate for one accelerator."""
        return self.samples_per_s / self.accelerator_count
