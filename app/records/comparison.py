"""Comparison of a run, or of several repeats of a run, with a baseline."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count, Estimate
from app.records.metrics import Better

Side = Literal["baseline", "candidate"]
ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
MAX_RATE = "max_rate_within_slo"
"""Name of the metric "max rate within SLO" in a comparison. The stage of this metric is named
"search"."""


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
    """A property in which the baseline runs and the candidate runs differ."""

    id: DifferenceId
    baseline_values: tuple[str, ...]
    """Distinct values of the property in the baseline runs, sorted; "n/a" for a run that does not
    report the property."""
    candidate_values: tuple[str, ...]
    forbids: bool
    """True if the difference makes baseline and candidate incomparable."""
    package: str | None = None
    """Name of the Python package whose version differs, if `id` is `package`."""

    @property
    def name(self) -> str:
        return self.package or _DIFFERENCE_NAMES.get(self.id, self.id)

    @property
    def baseline(self) -> str:
        """Values of the property in the baseline runs, as display text."""
        return _SEPARATORS.get(self.id, " / ").join(self.baseline_values)

    @property
    def candidate(self) -> str:
        """Values of the property in the candidate runs, as display text."""
        return _SEPARATORS.get(self.id, " / ").join(self.candidate_values)


class StageMetric(msgspec.Struct, frozen=True):
    """Identity of a metric in a comparison: metric, aggregate and stage."""

    metric: str
    aggregate: str | None
    unit: str
    better: Better
    stage: str


class MetricChange(StageMetric, frozen=True):
    """Change of one metric between baseline and candidate.

    `ratio` is the candidate's median over repeats divided by the baseline's median; its value is
    None, with a reason, if the baseline is 0. `p_value` is the one-sided p-value of a Mann-Whitney
    test on the repeats, in the direction of the change; None with too few repeats. Holm's
    correction is applied to all headline metrics together, and separately to all other metrics.
    """

    baseline: Estimate
    candidate: Estimate
    ratio: Estimate
    p_value: float | None
    verdict: ChangeVerdict
    detectable: float | None = None
    """Smallest relative change that can be detected with a power of 80 %, given the number of
    repeats and the noise."""
    more_repeats: Count | None = None
    """Estimated number of additional repeats per side that would resolve an inconclusive change;
    None if the change is conclusive or no number of repeats would resolve it."""
    is_headline: bool = True
    """True for a headline metric, which can fail a run. Other metrics are only reported."""
    noise: float | None = None
    """Coefficient of variation of the metric between repeats; None with one repeat. If a language
    model was run once and its check of the drift warned, the drift of its variant. A headline
    metric with a noise above 0.1 does not fail a run."""
    unadjusted_p_value: float | None = None
    """p-value of the change before Holm's correction for multiple tests."""


class Comparison(msgspec.Struct, frozen=True):
    """Comparison of two sets of runs. `tolerance` is the largest relative change at which a metric
    counts as unchanged. `noise` is the highest noise among the headline metrics. A comparison is
    advisory, and never fails a run, if all headline metrics are too noisy or the CPUs differ."""

    baseline: tuple[str, ...]
    """Run IDs of the baseline, one per repeat."""
    candidate: tuple[str, ...]
    tolerance: float
    changes: tuple[MetricChange, ...]
    """Metric changes, headline metrics first; empty if the runs are incomparable and the comparison
    was not forced."""
    differences: tuple[EnvironmentDifference, ...] = ()
    """Environment differences; those that make the runs incomparable come first."""
    is_forced: bool = False
    """True if the comparison was forced although a difference makes the runs incomparable."""
    noise: float | None = None
    is_advisory: bool = False
    notes: tuple[str, ...] = ()
    is_same_run: bool = False
    """True if baseline and candidate are the same runs, so that no metric can differ."""
