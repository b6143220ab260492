"""What the fp32 model gives on the CPU: what the outputs and the accuracy of its variants are held against."""

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
    """One a labelled row."""

    metric: Literal["top-1", "mean absolute error"]
    values: npt.NDArray[np.float64]
    chance: float | None = None


def scores_of(scored: Scored) -> Scores:
    metric: Literal["top-1", "mean absolute error"] = "top-1" if scored.metric == "top-1" else "mean absolute error"
    return Scores(metric, np.frombuffer(scored.scores, np.float64), scored.chance)


class Reference(msgspec.Struct, frozen=True):
    """`outputs` is the file of them; None where the model does not run on the CPU, or answers in text. `scores` are
    None without labels."""

    outputs: str | None
    scores: Scores | None


class References:
    """One a model, found when it is first asked for."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._found: dict[str, Reference] = {}

    def of(self, order: VariantOrder) -> Reference:
        if order.model not in self._found:
            self._telling.phase("reference", f"running {order.variant.model} on the CPU, to hold its variants against")
            self._found[order.model] = self._find(order)
        return self._found[order.model]

    def _within(self, wanted_s: float) -> float:
        return self._limits.within(wanted_s, self._parts.now_ns())

    def scores_of(self, model: str) -> Scores | None:
        """None where it was not looked for."""
        return self._found[model].scores if model in self._found else None

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
                self._parts.store.keep_outputs(f"scores-of-reference-{len(self._found) + 1}", scores.values)
            given = running.give_outputs(ROWS, self._within(OPEN_LIMIT_S))
            array = np.frombuffer(given.content, given.dtype).reshape(given.shape)
            outputs = self._parts.store.keep_outputs(f"reference-{len(self._found) + 1}", array)
        except SizewiseError as error:
            is_same = order.variant.provider == "cpu" and order.precision == "as-is"  # which then tells it itself
            was_ended = self._interruption.is_requested or not self._limits.check(self._parts.now_ns())
            if not (was_ended or is_same):
                self._telling.note(f"Nothing to hold {name} against on the CPU: {error}.")
        finally:
            running.close()
        return Reference(outputs, scores)
