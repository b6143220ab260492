"""One run, or several repeats of it, held against a baseline."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate
from app.records.metrics import Better

Side = Literal["base", "candidate"]
ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
MAX_RATE = "max_rate_within_slo"
"""The metric name under which the highest rate that held the SLO is compared; its stage is "search"."""


DifferenceId = Literal[
    "machine", "gpu", "gpu_power_limit", "mig", "nvidia_driver", "onnxruntime", "workload", "hardware", "target",
    "model", "cpu", "cores", "cpu_governor", "memory", "os", "python", "package", "precision", "slo", "version", "tool",
    "profile", "arrivals",
]  # fmt: skip
_DIFFERENCE_NAMES: dict[DifferenceId, str] = {
    "gpu": "GPU", "gpu_power_limit": "GPU power limit", "mig": "MIG", "nvidia_driver": "NVIDIA driver",
    "onnxruntime": "ONNX Runtime", "hardware": "target's hardware", "cpu": "CPU", "cpu_governor": "CPU governor",
    "os": "OS", "python": "Python", "slo": "SLO", "version": "version of Sizewise", "tool": "measuring tool",
}  # fmt: skip
_SEPARATORS: dict[DifferenceId, str] = {"machine": ", ", "arrivals": "; "}


class EnvironmentDifference(msgspec.Struct, frozen=True):
    """One property in which the base runs and the candidate runs differ."""

    id: DifferenceId
    base_values: tuple[str, ...]
    """Distinct values over the runs, sorted; "n/a" stands for a run that does not report it."""
    candidate_values: tuple[str, ...]
    forbids: bool
    """Numbers of the two may not be compared because of it."""
    package: str | None = None
    """Name of the Python package whose version differs, where `id` is `package`."""

    @property
    def name(self) -> str:
        return self.package or _DIFFERENCE_NAMES.get(self.id, self.id)

    @property
    def base(self) -> str:
        """The base's values as text."""
        return _SEPARATORS.get(self.id, " / ").join(self.base_values)

    @property
    def candidate(self) -> str:
        """The candidate's values as text."""
        return _SEPARATORS.get(self.id, " / ").join(self.candidate_values)


class StageMetric(msgspec.Struct, frozen=True):
    """One aggregate of a metric in one stage."""

    metric: str
    aggregate: str | None
    unit: str
    better: Better
    stage: str


class MetricChange(StageMetric, frozen=True):
    """`ratio` is of medians over repeats, candidate over base; withheld where the base is 0. `p_value` is that of the
    change's own side, by Mann-Whitney on repeats, after Holm over all gated metrics (or over all others); None with
    too few repeats."""

    base: Estimate
    candidate: Estimate
    ratio: Estimate
    p_value: float | None
    verdict: ChangeVerdict
    detectable: float | None = None
    """The smallest change, as a share, that so many repeats of such noise show four times in five."""
    more_repeats: int | None = None
    """Of an inconclusive one: how many more of each would likely decide it; None where no number would."""
    is_headline: bool = True
    """It may fail a run. All other metrics are told, and fail nothing."""
    noise: float | None = None
    """Coefficient of variation from repeat to repeat; over a tenth, a headline fails nothing either. None with one."""
    p_alone: float | None = None
    """`p_value` before Holm."""


class Comparison(msgspec.Struct, frozen=True):
    """`tolerance` is the share by which a metric may change and still be the same. `noise` is the largest of a headline
    metric. An advisory comparison fails nothing: every headline is too noisy, or the CPUs differ."""

    base: tuple[str, ...]
    """Run ids of the baseline's repeats."""
    candidate: tuple[str, ...]
    tolerance: float
    changes: tuple[MetricChange, ...]
    """Headlines first. Empty where a difference forbids the comparison, and nobody insisted."""
    differences: tuple[EnvironmentDifference, ...] = ()
    """Those that forbid first."""
    is_forced: bool = False
    """It was asked for although a difference forbids it."""
    noise: float | None = None
    is_advisory: bool = False
    notes: tuple[str, ...] = ()
    is_same_run: bool = False
    """Base and candidate are the very same runs, in which there is no difference to find."""
