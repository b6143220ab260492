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
from app.session.limits import LimitWatch
from app.session.local.spec import LocalParts, LocalSpec, VariantOrder
from app.session.telling import Telling

ROWS = 256
OPEN_LIMIT_S = 600.0
SCORE_LIMIT_S = 3600.0


class Scores(msgspec.Struct, frozen=True):
    """Scores of the labeled rows, one value per row."""

    metric: Literal["top-1", "mean absolute error"]
    values: npt.NDArray[np.float64]
    chance: float | None = None


def scores_of(scored: Scored) -> Scores:
    metric: Literal["top-1", "mean absolute error"] = "top-1" if scored.metric == "top-1" else "mean absolute error"
    return Scores(metric, np.frombuffer(scored.scores, np.float64), scored.chance)


class Reference(msgspec.Struct, frozen=True):
    """Reference of a model.

    `outputs` is the file with its outputs; `None` if the model does not run on the CPU, or returns text. `scores` is
    `None` without labels."""

    outputs: str | None
    scores: Scores | None


class References:
    """References by model, computed on first use."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._references: dict[str, Reference] = {}

    def of(self, order: VariantOrder) -> Reference:
        if order.model not in self._references:
            self._telling.phase("reference", f"running {order.variant.model} on the CPU, to hold its variants against")
            self._references[order.model] = self._find(order)
        return self._references[order.model]

    def _within(self, wanted_s: float) -> float:
        return self._limits.within(wanted_s, self._parts.now_ns())

    def scores_of(self, model: str) -> Scores | None:
        """Return the reference scores of a model; `None` if they were not computed."""
        return self._references[model].scores if model in self._references else None

    def _find(self, order: VariantOrder) -> Reference:
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
        running = self._parts.start_variant(f"the reference of {name}", job, ())
        self._interruption.attach(lambda _: running.kill())
        try:
            running.opened(self._within(OPEN_LIMIT_S))
            if self._spec.data.label is not None:
                scores = scores_of(running.score(self._within(SCORE_LIMIT_S)))
                self._parts.store.keep_outputs(f"scores-of-reference-{len(self._references) + 1}", scores.values)
            reply = running.give_outputs(ROWS, self._within(OPEN_LIMIT_S))
            array = np.frombuffer(reply.content, reply.dtype).reshape(reply.shape)
            outputs = self._parts.store.keep_outputs(f"reference-{len(self._references) + 1}", array)
        except SizewiseError as error:
            # The variant then reports the error itself.
            is_variant_itself = order.variant.provider == "cpu" and order.precision == "as-is"
            was_ended = self._interruption.is_requested or not self._limits.check(self._parts.now_ns())
            if not (was_ended or is_variant_itself):
                self._telling.note(f"Nothing to hold {name} against on the CPU: {error}.")
        finally:
            running.close()
        return Reference(outputs, scores)
