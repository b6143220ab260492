"""What one run of a local model is to do: a profile with everything resolved. Made by wiring, read by the session."""

from __future__ import annotations

import msgspec

from app.analysis.gating import Gating
from app.inference.job import SessionSettings
from app.records.estimate import Variant
from app.records.local import Precision, Scenario
from app.records.result import Objective, Target
from app.session.spec import BaselineSpec, LimitSpec


class VariantOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One variant to be measured. `model` is the user's file; `environment` makes its devices the only ones seen."""

    variant: Variant
    model: str
    precision: Precision
    settings: SessionSettings
    environment: tuple[tuple[str, str], ...] = ()


class ScenarioOrder(msgspec.Struct, frozen=True):
    """Of the server scenario there is a `rate_per_s`, or a `share` of what the variant does at the most; `finds_most`
    begins at that share and searches the highest rate inside the SLO."""

    scenario: Scenario
    rate_per_s: float | None = None
    share: float | None = None
    finds_most: bool = False


class DataSpec(msgspec.Struct, frozen=True):
    """Files of inputs. Without `rows` they are made up; without `label` nothing is scored. Of
    `calibration`, `calibration_rows` are for static quantisation: where those are labelled rows, no variant is scored
    by them (`unscored_rows`)."""

    rows: str | None = None
    label: str | None = None
    output: str | None = None
    calibration: str | None = None
    calibration_rows: int = 128
    unscored_rows: int = 0


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`variants` in the order they are measured. With `finds_best`, larger batches than one that failed the SLO are
    left out. The first model's accuracy is what that of the others is held against."""

    run_id: str
    name: str
    profile_hash: str
    target: Target
    seed: int
    variants: tuple[VariantOrder, ...]
    scenarios: tuple[ScenarioOrder, ...]
    data: DataSpec
    warmup_s: float
    at_least_s: float
    at_most_s: float
    half_width: float
    cold_starts: int
    finds_best: bool
    slo: tuple[Objective, ...]
    gates: tuple[Objective, ...]
    limits: LimitSpec
    memory_limit_bytes: int | None
    spare_memory_bytes: int | None = None
    """What a variant on the CPU may take where the profile sets no limit. Drivers of GPUs reserve more than they use,
    so that no number would be right for the others."""
    usd_per_hour: float | None = None
    price_note: str | None = None
    """When that was the price, and where it is from."""
    gating: Gating = Gating()
    notes: tuple[str, ...] = ()
    workload_hash: str | None = None
    baseline: BaselineSpec | None = None
    """What the result is compared with."""

    def memory_limit(self, provider: str) -> int | None:
        spare = self.spare_memory_bytes if provider == "cpu" else None
        return spare if self.memory_limit_bytes is None else self.memory_limit_bytes
