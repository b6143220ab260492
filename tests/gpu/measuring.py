"""A variant measured in a child process, as a run measures it, without a run."""

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


class MeasuredVariant(msgspec.Struct, frozen=True):
    """Measurements of a variant; `outputs` are its outputs for the first rows."""

    opened: VariantOpened
    stage: Stage
    outputs: npt.NDArray[np.float32]

    def p50_ms(self, part: str) -> float | None:
        """Median time of a part of a call; None if the part was not timed separately."""
        return self.stage.metrics[part]["p50"].value if part in self.stage.metrics else None

    @property
    def per_s(self) -> float:
        value = self.stage.metrics["throughput_per_s"]["value"].value
        assert value is not None
        return value


def measure_variant(
    model: Path, provider: str, settings: SessionSettings | None = None, seconds: float = 3.0
) -> MeasuredVariant:
    """Call the variant sequentially for `seconds`. Raises the errors of opening and running the variant."""
    job = VariantJob(model=str(model), provider=provider, batch=1, settings=settings or SessionSettings())
    process = VariantProcess(f"{model.stem} on {provider}", job)
    try:
        opened = process.wait_until_open(OPEN_LIMIT_S)
        stage = run_for(process, Variant(model.stem, provider, "as-is", 1, job.settings.threads), seconds)
        raw_outputs = process.compute_outputs(ROWS, OPEN_LIMIT_S)
    finally:
        process.close()
    return MeasuredVariant(
        opened, stage, np.frombuffer(raw_outputs.content, raw_outputs.dtype).reshape(raw_outputs.shape)
    )


def run_for(process: VariantProcess, variant: Variant, seconds: float) -> Stage:
    plan = Measure(
        scenario="single-stream", batch=1, streams=1, min_duration_s=seconds, max_duration_s=seconds, half_width=0.0,
        min_calls=1, max_warmup_s=10.0,
    )  # fmt: skip
    packed: list[bytes] = []
    started: list[MeasurementStarted] = []

    def on_report(report: MeasurementStarted | CallRows) -> None:
        match report:
            case MeasurementStarted():
                started.append(report)
            case CallRows(packed=rows):
                packed.append(rows)

    measured = process.measure(plan, on_report)
    call_stage = CallStage(
        index=0,
        variant=variant,
        scenario="single-stream",
        start_ns=started[0].start_ns,
        end_ns=measured.end_ns,
        warmup_windows=started[0].warmup_windows,
        is_stationary=started[0].is_stationary,
        half_width=measured.half_width,
        target_half_width=plan.half_width,
    )
    return summarize_calls(unpack_calls(0, b"".join(packed)).to_pandas(), call_stage)
