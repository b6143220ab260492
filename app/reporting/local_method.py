"""How a local run was measured, in sentences made from the run and its profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.records.local import VariantFacts
from app.records.result import Result, Stage
from reports import formatting
from reports.formatting import counted

_SCENARIOS = {
    "single-stream": "one call after another, the next when the last has ended",
    "multi-stream": "queries of a call a stream, all at once, the next when the last of them has ended",
    "offline": "as many calls as go through, on every stream at once",
    "server": "calls that arrive by a Poisson process, whether or not earlier ones have ended",
}


def local_sentences(result: Result, load: Mapping[str, Any]) -> tuple[str, ...]:
    """`load` is the profile's, tolerantly read."""
    local = result.local
    stages = [stage for stage in result.stages if stage.variant is not None]
    if local is None or not stages:
        return ()
    return (
        _processes(stages),
        _scenarios(stages),
        *_times(stages),
        *_warm_up(load),
        *_stop(stages, load),
        *_outputs(local.variants),
        *_cold_starts(local.variants),
    )


def _processes(stages: Sequence[Stage]) -> str:
    run = len({stage.variant for stage in stages})
    if run == 1:
        return "The variant was run in a process of its own, with nothing in between."
    return (
        f"{counted(run, 'variant')} were run one after another, each in a process of its own, so that a crash costs "
        "one of them and none disturbs another."
    )


def _scenarios(stages: Sequence[Stage]) -> str:
    used = dict.fromkeys(stage.tags.get("scenario", "") for stage in stages)
    told = "; ".join(f"{name}: {_SCENARIOS[name]}" for name in used if name in _SCENARIOS)
    calls = formatting.count(sum(stage.completed for stage in stages))
    return f"{calls} calls were timed, in scenarios as MLPerf defines them. {told[:1].upper()}{told[1:]}."


def _times(stages: Sequence[Stage]) -> Iterator[str]:
    scenarios = {stage.tags.get("scenario") for stage in stages}
    yield (
        "Service time is of the runtime's call, copies to and from a device in it; putting rows together before it "
        "and reading answers after it are timed apart."
    )
    if "server" in scenarios:
        yield "In server, latency runs from when a call was due, so waiting for a stream that is free counts."
    if "multi-stream" in scenarios:
        yield "In multi-stream, latency is of a query: from when it was due until the last of its calls ended."


def _warm_up(load: Mapping[str, Any]) -> Iterator[str]:
    most = f", or {load['warmup']} had passed" if load.get("warmup") else ""
    yield (
        "Before each scenario came calls that no number is of, until the medians of three windows in a row agreed "
        f"within 10{formatting.THIN}%{most}."
    )


def _stop(stages: Sequence[Stage], load: Mapping[str, Any]) -> Iterator[str]:
    if not all(load.get(name) for name in ("half_width", "at_least", "at_most")):
        return
    closed = [stage for stage in stages if stage.kind == "closed"]
    if closed:
        yield (
            f"A scenario lasted {load['at_least']} at least, and until half the 95{formatting.THIN}% interval of the "
            f"mean time was {load['half_width']} of it; {load['at_most']} at most."
        )


def _outputs(variants: Sequence[VariantFacts]) -> Iterator[str]:
    compared = [one.fidelity.rows for one in variants if one.fidelity is not None]
    if compared:
        rows = _range(compared)
        yield (
            f"Outputs were taken out of the measured calls themselves, {rows} rows a variant, and held against those "
            "of the fp32 model on the CPU for the same inputs."
        )
    scored = [one.accuracy.value.n for one in variants if one.accuracy is not None and one.accuracy.value.n]
    if scored:
        yield (
            f"Accuracy is of {_range(scored)} labelled rows, answered after the measurement by the session that was "
            "measured; differences are paired row by row."
        )


def _cold_starts(variants: Sequence[VariantFacts]) -> Iterator[str]:
    starts = sum(len(one.cold_starts) for one in variants)
    if starts:
        yield (
            f"{counted(starts, 'cold start')} {'was' if starts == 1 else 'were'} made, each in a new process, once "
            "for variants that are opened alike; the system's cache of files was not emptied before."
        )


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return formatting.count(low) if low == high else f"{formatting.count(low)} to {formatting.count(high)}"
