"""Reference outputs and scores of each fp32 model on the CPU, with which the variants of the model
are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from app.errors import MeasurementError, SizewiseError
from app.inference.job import SessionSettings, VariantJob, VariantScored
from app.records.checks import Check
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.spec import LocalDependencies, LocalSpec, VariantSpec
from app.session.run_log import RunLog

REFERENCE_ROW_COUNT = 256
OPEN_TIMEOUT_S = 600.0
SCORE_TIMEOUT_S = 3600.0


class Scores(msgspec.Struct, frozen=True):
    """Scores of the labeled rows, one value per row, with their metric and the chance accuracy."""

    metric: Literal["top-1", "mean absolute error"]
    values: npt.NDArray[np.float64]
    chance_accuracy: float | None = None


def decode_scores(score_report: VariantScored) -> Scores:
    metric: Literal["top-1", "mean absolute error"] = (
        "top-1" if score_report.metric == "top-1" else "mean absolute error"
    )
    return Scores(metric, np.frombuffer(score_report.scores, np.float64), score_report.chance_accuracy)


class Reference(msgspec.Struct, frozen=True):
    """Reference data of a model.

    `outputs_path` is the path of the file with the reference outputs; `None` if they could not be
    computed, as for a model that does not run on the CPU or returns strings. `scores` is `None`
    without labels, or if the scores could not be computed."""

    outputs_path: str | None
    scores: Scores | None


_NO_REFERENCE = Reference(None, None)
_MAX_ATTEMPTS = 2


class ReferenceCache:
    """Cache of the reference data of all models. The reference of a model is computed on first
    use."""

    def __init__(
        self,
        spec: LocalSpec,
        dependencies: LocalDependencies,
        run_log: RunLog,
        limit_monitor: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._dependencies, self._run_log = spec, dependencies, run_log
        self._limit_monitor, self._interruption = limit_monitor, interruption
        self._references: dict[str, Reference] = {}

    def get(self, variant_spec: VariantSpec) -> Reference:
        if variant_spec.model not in self._references:
            self._run_log.emit_phase(
                "reference", f"running {variant_spec.variant.model} on the CPU as the reference for its variants"
            )
            self._references[variant_spec.model] = self._compute_reference(variant_spec)
        return self._references[variant_spec.model]

    def _cap_duration_s(self, requested_duration_s: float) -> float:
        return self._limit_monitor.cap_duration_s(requested_duration_s, self._dependencies.now_ns())

    def get_scores(self, model: str) -> Scores | None:
        """Return the reference scores of a model; `None` if the scores have not been computed."""
        return self._references[model].scores if model in self._references else None

    def _compute_reference(self, variant_spec: VariantSpec) -> Reference:
        """Compute the reference of a model. A process that was lost, for example because it was killed,
        is started once more. If it is lost again, a check of the run warns, and the variants are not
        compared with a reference."""
        name = Path(variant_spec.model).stem
        error: SizewiseError | None = None
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self._run_reference(variant_spec, name)
            except SizewiseError as failure:
                error = failure
            has_ended = self._interruption.is_requested or not self._limit_monitor.check(self._dependencies.now_ns())
            if has_ended:
                return _NO_REFERENCE
            if not isinstance(error, MeasurementError):
                break  # It would fail again.
        self._report_missing_reference(variant_spec, name, error)
        return _NO_REFERENCE

    def _report_missing_reference(self, variant_spec: VariantSpec, name: str, error: SizewiseError | None) -> None:
        # If the variant is the reference itself, its own run reports an error of the model.
        is_own_reference = variant_spec.variant.provider == "cpu" and variant_spec.precision == "as-is"
        if isinstance(error, MeasurementError):
            hint = (
                f"The CPU reference of {name} could not be computed: {error}. The variants are not compared with it. "
                "Check the free memory, and run again."
            )
            self._run_log.add_check(Check("reference", name, None, None, "WARN", hint))
        elif not is_own_reference:
            self._run_log.add_note(f"The CPU reference of {name} could not be computed: {error}.")

    def _run_reference(self, variant_spec: VariantSpec, name: str) -> Reference:
        """Run a model on the CPU and return its reference data. Raises SizewiseError."""
        job = VariantJob(
            model=variant_spec.model,
            provider="cpu",
            batch=variant_spec.variant.batch,
            settings=SessionSettings(axes=variant_spec.settings.axes),
            rows=self._spec.data.rows,
            label=self._spec.data.label,
            output=self._spec.data.output,
            unscored_rows=self._spec.data.unscored_rows,
            memory_limit_bytes=self._spec.get_memory_limit_bytes("cpu"),
        )
        scores, number = None, len(self._references) + 1
        running_variant = self._dependencies.start_variant(f"the reference run of {name}", job, ())
        self._interruption.set_stop_callback(lambda _: running_variant.kill())
        try:
            running_variant.wait_until_open(self._cap_duration_s(OPEN_TIMEOUT_S))
            if self._spec.data.label is not None:
                scores = decode_scores(running_variant.score(self._cap_duration_s(SCORE_TIMEOUT_S)))
            report = running_variant.compute_outputs(REFERENCE_ROW_COUNT, self._cap_duration_s(OPEN_TIMEOUT_S))
        finally:
            running_variant.close()
        outputs = np.frombuffer(report.content, report.dtype).reshape(report.shape)
        if scores is not None:
            self._dependencies.store.store_outputs(f"scores-of-reference-{number}", scores.values)
        return Reference(self._dependencies.store.store_outputs(f"reference-{number}", outputs), scores)
