"""What is known of a stage of which only a part of the time is to count."""

from __future__ import annotations

from msgspec.structs import replace

from app.analysis.rows import StageRows, offered_window
from app.records.result import Window, WorkerFacts
from app.records.stage import StageFacts


def clipped(facts: StageFacts, rows: StageRows, within: Window) -> StageFacts | None:
    """The facts of the part of the stage that lies `within`; the facts themselves where that is all of it, None where
    it is nothing.

    What the workers did is known of the whole stage only: it is taken to be even over it.
    """
    whole = offered_window(rows, facts)
    start_ns, end_ns = max(whole.start_ns, within.start_ns), min(whole.end_ns, within.end_ns)
    if (start_ns, end_ns) == (whole.start_ns, whole.end_ns):
        return facts
    if end_ns <= start_ns:
        return None
    is_to_the_end, is_from_the_start = end_ns == whole.end_ns, start_ns == whole.start_ns
    last_ns = facts.end_ns if is_to_the_end else end_ns
    lead_in_s = facts.lead_in_s if is_from_the_start else 0.0
    part = _sending_s(start_ns, last_ns, lead_in_s) / _sending_s(facts.start_ns, facts.end_ns, facts.lead_in_s)
    after_s = (start_ns - facts.start_ns) / 1e9
    return replace(
        facts,
        kind="varying" if facts.kind == "spike" else facts.kind,
        start_ns=start_ns,
        end_ns=last_ns,
        duration_s=(end_ns - start_ns) / 1e9,
        lead_in_s=lead_in_s,
        rates=tuple((at_s - after_s, per_s) for at_s, per_s in facts.rates),
        over_saturated=facts.over_saturated and is_to_the_end,
        stopped_early=facts.stopped_early and is_to_the_end,
        worker_cpu_s=facts.worker_cpu_s * part,
        worker_waited_s=None if facts.worker_waited_s is None else facts.worker_waited_s * part,
        workers=tuple(_part_of(one, part) for one in facts.workers),
    )


def _part_of(worker: WorkerFacts, part: float) -> WorkerFacts:
    waited_s = None if worker.waited_s is None else worker.waited_s * part
    return replace(worker, cpu_s=worker.cpu_s * part, sent=round(worker.sent * part), waited_s=waited_s)


def _sending_s(start_ns: int, end_ns: int, lead_in_s: float) -> float:
    return max(1e-9, (end_ns - start_ns) / 1e9 + lead_in_s)
