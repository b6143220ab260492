"""Reference outputs and scores of the fp32 model on the CPU, which its variants are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from app.errors import SizewiseError
from app.inference.job import Scored, SessionSettings, VariantJob
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.spec import LocalDependencies, LocalSpec, VariantSpec
from app.session.run_log import RunLog

REFERENCE_ROWS = 256
OPEN_LIMIT_S = 600.0
SCORE_LIMIT_S = 3600.0


class Scores(msgspec.Struct, frozen=True):
    """Scores of the labeled rows, one value per row."""

    metric: Literal["top-1", "mean absolute error"]
    values: npt.NDArray[np.float64]
    chance_accuracy: float | None = None


def decode_scores(scored: Scored) -> Scores:
    metric: Literal["top-1", "mean absolute error"] = "top-1" if scored.metric == "top-1" else "mean absolute error"
    return Scores(metric, np.frombuffer(scored.scores, np.float64), scored.chance_accuracy)


class Reference(msgspec.Struct, frozen=True):
    """Reference of a model.

    `outputs` is the file with its outputs; `None` if the model does not run on the CPU, or returns text. `scores` is
    `None` without labels."""

    outputs: str | None
    scores: Scores | None


class ReferenceCache:
    """References by model, computed on first use."""

    def __init__(
        self,
        spec: LocalSpec,
        parts: LocalDependencies,
        telling: RunLog,
        limits: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._references: dict[str, Reference] = {}

    def get(self, variant_spec: VariantSpec) -> Reference:
        if variant_spec.model not in self._references:
            self._telling.emit_phase(
                "reference", f"running {variant_spec.variant.model} on the CPU as the reference for its variants"
            )
            self._references[variant_spec.model] = self._find(variant_spec)
        return self._references[variant_spec.model]

    def _within(self, wanted_s: float) -> float:
        return self._limits.cap_duration_s(wanted_s, self._parts.now_ns())

    def get_scores(self, model: str) -> Scores | None:
        """Return the reference scores of a model; `None` if they were not computed."""
        return self._references[model].scores if model in self._references else None

    def _find(self, order: VariantSpec) -> Reference:
        name = Path(order.model).stem
        job = VariantJob(
            model=order.model,
            provider="cpu",
            batch=order.variant.batch,
            settings=SessionSettings(axes=order.settings.axes),
            rows=self._spec.data.rows,
            label=self._spec.data.label,
            output=self._spec.data.output,
            unscored_rows=self._spec.data.unscored_rows,
            memory_limit_bytes=self._spec.memory_limit("cpu"),
        )
        outputs, scores = None, None
        running = self._parts.start_variant(f"the reference run of {name}", job, ())
        self._interruption.set_stop_callback(lambda _: running.kill())
        try:
            running.wait_until_open(self._within(OPEN_LIMIT_S))
            if self._spec.data.label is not None:
                scores = decode_scores(running.score(self._within(SCORE_LIMIT_S)))
                self._parts.store.store_outputs(f"scores-of-reference-{len(self._references) + 1}", scores.values)
            reply = running.compute_outputs(REFERENCE_ROWS, self._within(OPEN_LIMIT_S))
            array = np.frombuffer(reply.content, reply.dtype).reshape(reply.shape)
            outputs = self._parts.store.store_outputs(f"reference-{len(self._references) + 1}", array)
        except SizewiseError as error:
            # The variant then reports the error itself.
            is_variant_itself = order.variant.provider == "cpu" and order.precision == "as-is"
            was_ended = self._interruption.is_requested or not self._limits.check(self._parts.now_ns())
            if not (was_ended or is_variant_itself):
                self._telling.add_note(f"No CPU reference for {name}: {error}.")
        finally:
            running.close()
        return Reference(outputs, scores)
