"""Stages, sweep and search of a profile as what the load worker plays."""

from __future__ import annotations

from app.profiles.load import LoadSettings, SearchSettings
from app.profiles.rates import ShareOfStage
from app.profiles.stages import StageSettings
from app.profiles.sweep import SweepSettings
from app.records.result import StageKind
from app.session.spec import SearchSpec, ShareOf, StageSpec
from app.wiring.replay import replay
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, TraceArrivals


def stages_of(load: LoadSettings) -> tuple[StageSpec, ...]:
    """One for each repeat; those of the sweep come last."""
    stages = [spec for stage in load.stages for spec in _repeats(stage, load.seed)]
    return (*stages, *(_sweep(load.sweep) if load.sweep is not None else ()))


def search_of(search: SearchSettings | None) -> SearchSpec | None:
    if search is None:
        return None
    return SearchSpec(
        OpenArrivals(search.arrivals, ((0.0, 1.0),), search.burstiness or 1.0),
        search.start_per_s,
        search.hold_s,
        search.repeats,
        search.within_s,
    )


def _sweep(sweep: SweepSettings) -> list[StageSpec]:
    loads: list[tuple[StageKind, Arrivals]] = [("steady", _at(sweep, rate)) for rate in sweep.loads_per_s]
    loads += [("closed", ClosedArrivals(clients, 0.0)) for clients in sweep.clients]
    return [
        StageSpec(name, kind, arrivals, sweep.hold_s, repeat=repeat, in_sweep=True)
        for name, (kind, arrivals) in zip(sweep.stage_names, loads, strict=True)
        for repeat in range(1, sweep.repeats + 1)
    ]


def _at(sweep: SweepSettings, rate_per_s: float) -> OpenArrivals:
    return OpenArrivals(sweep.arrivals or "poisson", ((0.0, rate_per_s),), sweep.burstiness or 1.0)


def _repeats(stage: StageSettings, seed: int) -> list[StageSpec]:
    arrivals, duration_s = _arrivals(stage, seed)
    rate = stage.rate_per_s
    share = ShareOf(rate.stage, rate.share) if isinstance(rate, ShareOfStage) else None
    return [
        StageSpec(
            stage.name, stage.kind, arrivals, duration_s, lead_in_s=stage.lead_in_s, repeat=repeat, share_of=share
        )
        for repeat in range(1, stage.repeats + 1)
    ]


def _arrivals(stage: StageSettings, seed: int) -> tuple[Arrivals, float]:
    if stage.trace is not None:
        replayed = replay(stage, seed)
        return TraceArrivals(replayed.offsets_ns.astype("<i8").tobytes()), replayed.duration_s
    assert stage.duration_s is not None
    if stage.concurrency is not None:
        return ClosedArrivals(stage.concurrency, stage.think_s or 0.0), stage.duration_s
    assert stage.arrivals is not None
    curve = stage.curve or ((0.0, 1.0),)  # in units of what the earlier stage gives
    return OpenArrivals(stage.arrivals, curve, stage.burstiness or 1.0), stage.duration_s
