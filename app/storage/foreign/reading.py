"""Result files of other load tools, and curves that were typed in, as one capacity curve.

What a file is is told by its content. Files of one tool and one model together are one curve; whatever cannot be used
is refused in a sentence that names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from msgspec.structs import replace

from app.analysis.sample_size import needed_samples
from app.errors import UsageError
from app.records.plan_question import ForeignCurve, Rung
from app.storage.foreign import aiperf, genai_bench, guidellm, inference_perf, locust, perf_analyzer, typed, vllm
from app.storage.foreign.documents import ForeignDocument, open_document, printable, refused

MOST_FILES = 200
_MOST_RUNGS = 2000
_MOST_PER_S, _MOST_S = 1e9, 1e7
_SUFFIXES = (".json", ".jsonl", ".csv")
_FORMATS = (guidellm, vllm, aiperf, genai_bench, inference_perf, perf_analyzer, locust, typed)
_CLOSED = (
    "clients of a closed loop wait for their answers, so its latency lacks the queues that open arrivals would meet"
)
_KNOWN = (
    "Known are GuideLLM, vllm bench serve, AIPerf, genai-bench and inference-perf (JSON), perf_analyzer and Locust "
    "(CSV), and a typed curve (CSV or YAML) with offered_per_s and columns such as latency_ms.p95."
)


def read_foreign(paths: Sequence[Path]) -> ForeignCurve:
    """One curve of these files. Of a folder those are taken that are known, not those in its folders.

    Raises UsageError where a file cannot be read, is of no known tool or lacks what a load point needs, and where
    files are of two tools or of two models.
    """
    documents = _documents(paths)
    module, first = documents[0]
    for other, document in documents:
        if other is not module:
            tools = f"{first.name} is of {module.TOOL} and {document.name} of {other.TOOL}"
            raise UsageError(f"{tools}: a curve is of one tool", hint="Give the files of one tool.")
    found: ForeignCurve = module.read(tuple(document for _, document in documents))
    source = first.name if len(documents) == 1 else f"{first.name} and {len(documents) - 1} more"
    _refuse_nonsense(source, found)
    return replace(found, source=source, rungs=tuple(_by_load(found.rungs)), notes=_notes(found))


def _documents(paths: Sequence[Path]) -> list[tuple[ModuleType, ForeignDocument]]:
    if not paths:
        raise UsageError("no result file was given", hint=_KNOWN)
    found = [one for path in paths for one in (_folder(path) if path.is_dir() else [_known(path)])]
    if len(found) > MOST_FILES:
        raise UsageError(f"these are more than {MOST_FILES} files", hint="Give those of one curve.")
    places = [(document.folder.resolve(), document.name) for _, document in found]
    if len(set(places)) < len(places):
        raise refused(next(place for place in places if places.count(place) > 1)[1], "it was given twice")
    return found


def _folder(path: Path) -> list[tuple[ModuleType, ForeignDocument]]:
    """The files of a folder that are known; others lie beside results with good reason."""
    try:
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES and one.is_file())
    except OSError as error:
        raise refused(printable(path.name), f"{error.strerror or 'the folder cannot be listed'}") from error
    if len(files) > MOST_FILES:
        raise refused(printable(path.name), f"the folder has more than {MOST_FILES} files")
    documents = [open_document(one) for one in files]
    known = [(module, document) for document in documents if (module := _format(document)) is not None]
    if not known:
        raise refused(printable(path.name), "the folder has no result file that is known", _KNOWN)
    return known


def _known(path: Path) -> tuple[ModuleType, ForeignDocument]:
    document = open_document(path)
    module = _format(document)
    if module is None:
        raise refused(document.name, "it is no result file that is known", _KNOWN)
    return module, document


def _format(document: ForeignDocument) -> ModuleType | None:
    return next((module for module in _FORMATS if module.recognises(document)), None)


def _refuse_nonsense(source: str, found: ForeignCurve) -> None:
    if not found.rungs:
        raise refused(source, "it has no load point")
    if len(found.rungs) > _MOST_RUNGS:
        raise refused(source, f"it has more than {_MOST_RUNGS} load points")
    for rung in found.rungs:
        if rung.offered_per_s == 0 or rung.clients == 0:
            raise refused(source, "a load point of it has no load")
        if max(rung.offered_per_s or 0.0, rung.achieved_per_s) > _MOST_PER_S:
            raise refused(source, f"a rate of it is above {_MOST_PER_S:g} a second")
        for metric, aggregates in rung.latencies_s.items():
            _refuse_wrong_order(source, metric, aggregates)


def _refuse_wrong_order(source: str, metric: str, aggregates: dict[str, float]) -> None:
    if max(aggregates.values()) > _MOST_S:
        raise refused(source, f"its {metric} reaches {max(aggregates.values()):.3g} s: its units are not as expected")
    levels = sorted((_percent(name), value, name) for name, value in aggregates.items() if name.startswith("p"))
    for (_, low, below), (_, high, above) in pairwise(levels):
        if low > high * (1 + 1e-9):
            raise refused(source, f"{above} of its {metric} is below {below}")


def _percent(name: str) -> float:
    return float(name[1:].replace("_", "."))


def _by_load(rungs: tuple[Rung, ...]) -> list[Rung]:
    """Closed loops by their clients; as soon as one has none, all by the rate offered or, without one, achieved."""
    if all(rung.clients is not None for rung in rungs):
        return sorted(rungs, key=lambda rung: (rung.clients or 0.0, rung.achieved_per_s))
    return sorted(rungs, key=lambda rung: (rung.offered_per_s or rung.achieved_per_s, rung.achieved_per_s))


def _notes(found: ForeignCurve) -> tuple[str, ...]:
    needed = needed_samples(0.99)
    counts = [rung.completed for rung in found.rungs if rung.completed is not None and rung.latencies_s]
    few = (
        f"a load point rests on {min(counts)} requests; p99 needs {needed}" if counts and min(counts) < needed else None
    )
    closed = _CLOSED if any(rung.clients is not None for rung in found.rungs) else None
    return tuple(dict.fromkeys(note for note in (*found.notes, closed, few) if note is not None))
