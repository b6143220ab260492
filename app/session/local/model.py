"""The model of an embedded endpoint, measured alone before it is served: one call after another, batch by batch."""

from __future__ import annotations

from functools import partial

import msgspec
import pyarrow as pa

from app.analysis.local.accuracy import accuracy_of
from app.analysis.local.call_stages import summarise_calls
from app.analysis.validity import provider_check, strays_of, verdict_of
from app.inference.job import Began, Calls, Measure, Opened
from app.records.calls import CallStage, unpacked
from app.records.estimate import Estimate, Variant
from app.records.result import Check, Stage
from app.session.interruption import Interruption
from app.session.local.references import scores_of
from app.session.local.variant_stages import CallProgress
from app.session.parts import Parts
from app.session.spec import AloneSpec
from app.session.telling import Telling

_OPEN_LIMIT_S = 60.0
_SCORE_LIMIT_S = 120.0
_HALF_WIDTH = 0.02
_LEAST_SHARE = 0.5


class Alone(msgspec.Struct, frozen=True):
    """Accuracy and cold start stand on the first of the stages."""

    stages: tuple[Stage, ...]
    provider: Check


def measure_alone(spec: AloneSpec, parts: Parts, telling: Telling, interruption: Interruption) -> Alone:
    """Told as it goes, as stages below 0: those of the run begin at 0. Raises UsageError, UnavailableError or
    InstrumentError."""
    assert parts.start_alone is not None
    running = parts.start_alone(spec.job)
    interruption.attach(lambda _: running.kill())
    try:
        opened = running.opened(_OPEN_LIMIT_S)
        check = _provider_check(spec, opened)
        stages = []
        for index, batch in enumerate(spec.batches):
            packed: list[bytes] = []
            began: list[Began] = []
            plan, variant = _plan(spec, batch), _variant(spec, opened, batch)
            progress = CallProgress(index - len(spec.batches), plan, variant, telling, parts.now_ns)
            measured = running.measure(plan, partial(_take, index, packed, began, progress))
            facts = CallStage(
                index=index,
                variant=variant,
                scenario="single-stream",
                start_ns=began[0].start_ns,
                end_ns=measured.end_ns,
                warmup_windows=began[0].warmup_windows,
                has_settled=began[0].has_settled,
                half_width=measured.half_width,
                wanted_half_width=_HALF_WIDTH,
            )
            calls = pa.Table.from_batches([unpacked(index, b"".join(packed))])
            stages.append(_named(summarise_calls(calls, facts, (check,)), check))
        once = _once(opened)
        if spec.job.label is not None:
            scored = scores_of(running.score(_SCORE_LIMIT_S))
            once["accuracy"] = {"value": accuracy_of(scored.values, None, scored.metric).value}
    finally:
        running.close()
    first = msgspec.structs.replace(stages[0], metrics={**stages[0].metrics, **once})
    return Alone((first, *stages[1:]), check)


def _take(index: int, packed: list[bytes], began: list[Began], progress: CallProgress, told: Began | Calls) -> None:
    match told:
        case Began():
            began.append(told)
        case Calls(packed=rows):
            packed.append(rows)
            progress.show(unpacked(index, rows), began[0].start_ns if began else None)


def _plan(spec: AloneSpec, batch: int) -> Measure:
    return Measure(
        scenario="single-stream",
        batch=batch,
        streams=1,
        least_s=spec.seconds * _LEAST_SHARE,
        most_s=spec.seconds,
        half_width=_HALF_WIDTH,
        least_calls=1,
        warmup_most_s=spec.seconds,
    )


def _named(stage: Stage, check: Check) -> Stage:
    """By its batch alone, and held to the provider alone: these stages are beside the answer, and short."""
    assert stage.variant is not None
    name = f"batch {stage.variant.batch}"
    return msgspec.structs.replace(stage, name=name, checks=(check,), verdict=verdict_of((check,)))


def _variant(spec: AloneSpec, opened: Opened, batch: int) -> Variant:
    return Variant(spec.name, opened.provider_used, "as is", batch, spec.job.settings.threads)


def _provider_check(spec: AloneSpec, opened: Opened) -> Check:
    return provider_check(spec.job.provider, opened.provider_used, strays_of(opened.placements), opened.provider_reason)


def _once(opened: Opened) -> dict[str, dict[str, Estimate]]:
    cold = {
        "library_load_ms": opened.library_load_ms,
        "session_build_ms": opened.session_build_ms,
        "first_inference_ms": opened.first_inference_ms,
    }
    return {name: {"value": Estimate(value, n=1)} for name, value in cold.items()}
