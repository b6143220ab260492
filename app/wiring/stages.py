"""Convert the stages and the sweep of a profile to stage specifications for the load workers."""

from __future__ import annotations

from app.profiles.load import BatchLoadSettings, LoadSettings, StageSettings, SweepSettings
from app.profiles.trace_replay import replay_trace
from app.records.result import StageKind
from app.records.search import RateShare
from app.session.spec import StageSpec
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, StageLoad, TraceArrivals


def build_stages(load: LoadSettings) -> tuple[StageSpec, ...]:
    """Return the stages of a load, with one specification per repeat. The stages of the sweep are
    last."""
    if isinstance(load, BatchLoadSettings):
        return (
            StageSpec(
                "batch",
                "batch",
                StageLoad(ClosedArrivals(1, 0.0), load.batch.timeout_s, max_requests=load.batch.requests),
            ),
        )
    stages = [spec for stage in load.stages for spec in _build_repeats(stage, load.seed)]
    return (*stages, *(_build_sweep(load.sweep) if load.sweep is not None else ()))


def _build_sweep(sweep: SweepSettings) -> list[StageSpec]:
    loads: list[tuple[StageKind, Arrivals]] = [
        ("steady", _build_sweep_arrivals(sweep, rate)) for rate in sweep.swept_rates_per_s
    ]
    loads += [("closed", ClosedArrivals(clients, 0.0)) for clients in sweep.swept_concurrency]
    return [
        StageSpec(name, kind, StageLoad(arrivals, sweep.step_duration_s), repeat=repeat, is_in_sweep=True)
        for name, (kind, arrivals) in zip(sweep.stage_names, loads, strict=True)
        for repeat in range(1, sweep.repeats + 1)
    ]


def _build_sweep_arrivals(sweep: SweepSettings, rate_per_s: float) -> OpenArrivals:
    return OpenArrivals(sweep.arrivals or "poisson", ((0.0, rate_per_s),), sweep.cv or 1.0)


def _build_repeats(stage: StageSettings, seed: int) -> list[StageSpec]:
    arrivals, duration_s = _build_arrivals(stage, seed)
    rate_share = stage.rate_per_s if isinstance(stage.rate_per_s, RateShare) else None
    return [
        StageSpec(
            stage.name,
            stage.kind,
            StageLoad(arrivals, duration_s, lead_in_s=stage.lead_in_s, max_requests=stage.requests),
            repeat=repeat,
            rate_share=rate_share,
        )
        for repeat in range(1, stage.repeats + 1)
    ]


def _build_arrivals(stage: StageSettings, seed: int) -> tuple[Arrivals, float]:
    if stage.trace is not None:
        replay = replay_trace(stage, seed)
        return TraceArrivals(replay.offsets_ns.astype("<i8").tobytes()), replay.duration_s
    if stage.concurrency is not None:
        return ClosedArrivals(stage.concurrency, stage.think_s or 0.0), stage.max_duration_s
    assert stage.arrivals is not None
    curve = stage.curve or ((0.0, 1.0),)  # With a relative rate, multiples of the rate derived from the earlier stage.
    return OpenArrivals(stage.arrivals, curve, stage.cv or 1.0), stage.max_duration_s
