"""A variant measured by the program's own child, as a run does it, without a run around it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from app.analysis.local.call_stages import summarize_calls
from app.inference.job import CallRows, Measure, MeasurementStarted, SessionSettings, VariantJob, VariantOpened
from app.inference.process import VariantProcess
from app.records.calls import CallStage, unpack_calls
from app.records.estimate import Variant
from app.records.result import Stage

OPEN_LIMIT_S = 300.0
ROWS = 64


class Seen(msgspec.Struct, frozen=True):
    """`outputs` are of the first rows, by the variant itself."""

    opened: VariantOpened
    stage: Stage
    outputs: npt.NDArray[np.float32]

    def p50_ms(self, part: str) -> float | None:
        """None for a part that was not timed apart."""
        return self.stage.metrics[part]["p50"].value if part in self.stage.metrics else None

    @property
    def per_s(self) -> float:
        value = self.stage.metrics["throughput_per_s"]["value"].value
        assert value is not None
        return value


def seen_of(model: Path, provider: str, settings: SessionSettings | None = None, seconds: float = 3.0) -> Seen:
    """One call after another for `seconds`. Raises what opening and running the variant raise."""
    job = VariantJob(model=str(model), provider=provider, batch=1, settings=settings or SessionSettings())
    process = VariantProcess(f"{model.stem} on {provider}", job)
    try:
        opened = process.wait_until_open(OPEN_LIMIT_S)
        stage = run_for(process, Variant(model.stem, provider, "as-is", 1, job.settings.threads), seconds)
        given = process.compute_outputs(ROWS, OPEN_LIMIT_S)
    finally:
        process.close()
    return Seen(opened, stage, np.frombuffer(given.content, given.dtype).reshape(given.shape))


def run_for(process: VariantProcess, variant: Variant, seconds: float) -> Stage:
    plan = Measure(
        scenario="single-stream", batch=1, streams=1, min_duration_s=seconds, max_duration_s=seconds, half_width=0.0,
        min_calls=1, max_warmup_s=10.0,
    )  # fmt: skip
    packed: list[bytes] = []
    began: list[MeasurementStarted] = []

    def take(reported: MeasurementStarted | CallRows) -> None:
        match reported:
            case MeasurementStarted():
                began.append(reported)
            case CallRows(packed=rows):
                packed.append(rows)

    measured = process.measure(plan, take)
    facts = CallStage(
        index=0,
        variant=variant,
        scenario="single-stream",
        start_ns=began[0].start_ns,
        end_ns=measured.end_ns,
        warmup_windows=began[0].warmup_windows,
        is_stationary=began[0].is_stationary,
        half_width=measured.half_width,
        target_half_width=plan.half_width,
    )
    return summarize_calls(unpack_calls(0, b"".join(packed)).to_pandas(), facts)
