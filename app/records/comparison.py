"""Comparison of one run, or several repeats of it, with a baseline."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate
from app.records.metrics import Better

Side = Literal["base", "candidate"]
ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
MAX_RATE = "max_rate_within_slo"
"""Metric name of the highest rate that met the SLO in a comparison; its stage is "search"."""


DifferenceId = Literal[
    "machine", "gpu", "gpu_power_limit", "mig", "nvidia_driver", "onnxruntime", "workload", "hardware", "target",
    "model", "cpu", "cores", "cpu_governor", "memory", "os", "python", "package", "precision", "slo", "version", "tool",
    "profile", "arrivals",
]  # fmt: skip
_DIFFERENCE_NAMES: dict[DifferenceId, str] = {
    "gpu": "GPU", "gpu_power_limit": "GPU power limit", "mig": "MIG", "nvidia_driver": "NVIDIA driver",
    "onnxruntime": "ONNX Runtime", "hardware": "target hardware", "cpu": "CPU", "cpu_governor": "CPU governor",
    "os": "OS", "python": "Python", "slo": "SLO", "version": "Sizewise version", "tool": "measurement tool",
}  # fmt: skip
_SEPARATORS: dict[DifferenceId, str] = {"machine": ", ", "arrivals": "; "}


class EnvironmentDifference(msgspec.Struct, frozen=True):
    """One property in which the base runs and the candidate runs differ."""

    id: DifferenceId
    base_values: tuple[str, ...]
    """Distinct values over the runs, sorted; "n/a" for a run that does not report it."""
    candidate_values: tuple[str, ...]
    forbids: bool
    """True if the difference makes the two sides incomparable."""
    package: str | None = None
    """Name of the Python package whose version differs, if `id` is `package`."""

    @property
    def name(self) -> str:
        return self.package or _DIFFERENCE_NAMES.get(self.id, self.id)

    @property
    def base(self) -> str:
        """Values of the base as text."""
        return _SEPARATORS.get(self.id, " / ").join(self.base_values)

    @property
    def candidate(self) -> str:
        """Values of the candidate as text."""
        return _SEPARATORS.get(self.id, " / ").join(self.candidate_values)


class StageMetric(msgspec.Struct, frozen=True):
    """One aggregate of a metric in one stage."""

    metric: str
    aggregate: str | None
    unit: str
    better: Better
    stage: str


class MetricChange(StageMetric, frozen=True):
    """Change of one metric between base and candidate.

    `ratio` is candidate over base, of medians over repeats; withheld if the base is 0. `p_value` is one-sided in the
    direction of the change, by the Mann-Whitney test on repeats, after Holm's correction over all gated metrics (or
    over all others); None with too few repeats.
    """

    base: Estimate
    candidate: Estimate
    ratio: Estimate
    p_value: float | None
    verdict: ChangeVerdict
    detectable: float | None = None
    """Smallest change, as a share, that this number of repeats with this noise detects with a power of 80 %."""
    more_repeats: int | None = None
    """Additional repeats of each side that would probably decide an inconclusive change; None if no number would."""
    is_headline: bool = True
    """True if the metric can fail a run. All other metrics are reported only."""
    noise: float | None = None
    """Coefficient of variation between repeats; above 0.1, a headline does not fail a run either. None with one
    repeat."""
    unadjusted_p_value: float | None = None
    """p-value before Holm's correction."""


class Comparison(msgspec.Struct, frozen=True):
    """Comparison of two sets of runs. `tolerance` is the share by which a metric may change and still count as the
    same. `noise` is the largest of a headline metric. An advisory comparison fails nothing, because every headline is
    too noisy or the CPUs differ."""

    base: tuple[str, ...]
    """Run ids of the baseline's repeats."""
    candidate: tuple[str, ...]
    tolerance: float
    changes: tuple[MetricChange, ...]
    """Changes, headlines first; empty if a difference makes the runs incomparable and the comparison was not forced."""
    differences: tuple[EnvironmentDifference, ...] = ()
    """Differences, those that make the runs incomparable first."""
    is_forced: bool = False
    """True if the comparison was requested although a difference forbids it."""
    noise: float | None = None
    is_advisory: bool = False
    notes: tuple[str, ...] = ()
    is_same_run: bool = False
    """True if base and candidate are the same runs, which cannot differ."""
