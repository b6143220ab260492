"""A local measurement of the model as stages: one a batch size, closed loop, so nothing was offered."""

from __future__ import annotations

import numpy as np

from app.analysis.estimates import maximum, mean, percentile, share
from app.analysis.validity import provider_check, verdict_of
from app.inference.measurement import BatchMeasurement, LocalMeasurement
from app.records.metrics import PERCENTILES
from app.records.result import Check, Estimate, Stage, Variant, Window

_CLOSED_LOOP = Estimate(None, reason="closed loop: the next call starts when the last one ends")


def local_provider_check(measurement: LocalMeasurement) -> Check:
    return provider_check(
        measurement.provider_requested,
        measurement.provider_used,
        measurement.nodes_elsewhere,
        measurement.provider_reason,
    )


def local_stages(measurement: LocalMeasurement) -> tuple[Stage, ...]:
    """In the order measured. Accuracy and cold start stand on the first."""
    check = local_provider_check(measurement)
    return tuple(
        _stage(measurement, batch, check, is_first=number == 0) for number, batch in enumerate(measurement.batches)
    )


def _stage(measurement: LocalMeasurement, batch: BatchMeasurement, check: Check, *, is_first: bool) -> Stage:
    service_ms = np.asarray(batch.latencies_ns) / 1e6
    total_s = (batch.end_ns - batch.start_ns) / 1e9
    metrics: dict[str, dict[str, Estimate]] = {
        "service_ms": {
            **{name: percentile(service_ms, q) for name, q in PERCENTILES.items()},
            "mean": mean(service_ms),
            "max": maximum(service_ms),
        },
        "throughput_per_s": {"value": Estimate(len(service_ms) * batch.batch / total_s, n=len(service_ms))},
    }
    if is_first:
        metrics |= _once(measurement)
    return Stage(
        name=f"batch {batch.batch}",
        kind="steady",
        repeat=1,
        tags={"scenario": "single-stream"},
        variant=Variant(
            model=measurement.name,
            provider=measurement.provider_used,
            precision="as is",
            batch=batch.batch,
            threads=measurement.threads,
        ),
        window=Window(batch.start_ns, batch.end_ns),
        offered_per_s=_CLOSED_LOOP,
        achieved_per_s=Estimate(len(service_ms) / total_s, n=len(service_ms)),
        good_per_s=_CLOSED_LOOP,
        completed=len(service_ms),
        errors={},
        metrics=metrics,
        verdict=verdict_of((check,)),
        checks=(check,),
    )


def _once(measurement: LocalMeasurement) -> dict[str, dict[str, Estimate]]:
    cold = {
        "library_load_ms": measurement.library_load_ms,
        "session_build_ms": measurement.session_build_ms,
        "first_inference_ms": measurement.first_inference_ms,
    }
    once = {name: {"value": Estimate(value, n=1)} for name, value in cold.items()}
    if measurement.accuracy is not None:
        once["accuracy"] = {"value": share(measurement.accuracy.right, measurement.accuracy.total)}
    return once
