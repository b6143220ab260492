"""Read result files of other load tools, and curves entered by the user, as one capacity curve.

The format of a file is detected from its content. All files of a curve must be from the same tool
and for the same model. An unusable file is rejected with a one-sentence message that contains the
file name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from msgspec.structs import replace

from app.analysis.sample_size import count_needed_samples
from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign import aiperf, genai_bench, guidellm, inference_perf, locust, perf_analyzer, typed, vllm
from app.storage.foreign.documents import ForeignDocument, build_file_error, open_document, printable

MAX_FILES = 200
_MAX_LOAD_POINTS = 2000
_MAX_PER_S, _MAX_LATENCY_S = 1e9, 1e7
_SUFFIXES = (".json", ".jsonl", ".csv")
_FORMATS = (guidellm, vllm, aiperf, genai_bench, inference_perf, perf_analyzer, locust, typed)
_CLOSED_LOOP_NOTE = (
    "closed-loop clients wait for their responses, so the latency does not include the queueing of an open loop"
)
_FORMATS_HINT = (
    "The supported formats are GuideLLM, vllm bench serve, AIPerf, genai-bench and inference-perf (JSON), "
    "perf_analyzer and Locust (CSV), and a load curve (CSV or YAML) with offered_per_s and columns such as "
    "latency_ms.p95."
)


def read_foreign(paths: Sequence[Path]) -> ImportedCurve:
    """Read the result files in `paths` as one curve. For a folder, all recognized files in it are
    read, and its subfolders are ignored.

    Raises UsageError if a file cannot be read, is not from a supported tool or lacks required
    values, or if the files are from different tools or for different models.
    """
    documents = _open_documents(paths)
    module, first_document = documents[0]
    for other_module, document in documents:
        if other_module is not module:
            message = f"{first_document.name} is from {module.TOOL}, but {document.name} is from {other_module.TOOL}"
            raise UsageError(message, hint="Use files of one tool only.")
    curve: ImportedCurve = module.read(tuple(document for _, document in documents))
    source = first_document.name if len(documents) == 1 else f"{first_document.name} and {len(documents) - 1} more"
    _check_plausibility(source, curve)
    return replace(
        curve, source=source, load_points=tuple(_sort_by_load(curve.load_points)), notes=_collect_notes(curve)
    )


def _open_documents(paths: Sequence[Path]) -> list[tuple[ModuleType, ForeignDocument]]:
    if not paths:
        raise UsageError("no result file was specified", hint=_FORMATS_HINT)
    documents = [
        recognized_document
        for path in paths
        for recognized_document in (_read_folder(path) if path.is_dir() else [_read_file(path)])
    ]
    if len(documents) > MAX_FILES:
        raise UsageError(f"more than {MAX_FILES} files were specified", hint="Use the files of one curve only.")
    locations = [(document.folder.resolve(), document.name) for _, document in documents]
    if len(set(locations)) < len(locations):
        raise build_file_error(
            next(location for location in locations if locations.count(location) > 1)[1], "the file was specified twice"
        )
    return documents


def _read_folder(path: Path) -> list[tuple[ModuleType, ForeignDocument]]:
    """Return the recognized files of a folder with their readers. All other files in the folder are
    ignored."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    except OSError as error:
        raise build_file_error(printable(path.name), f"{error.strerror or 'the folder cannot be listed'}") from error
    if len(files) > MAX_FILES:
        raise build_file_error(printable(path.name), f"the folder has more than {MAX_FILES} files")
    documents = [open_document(file) for file in files]
    recognized_documents = [
        (module, document) for document in documents if (module := _find_format(document)) is not None
    ]
    if not recognized_documents:
        raise build_file_error(printable(path.name), "the folder has no supported result file", _FORMATS_HINT)
    return recognized_documents


def _read_file(path: Path) -> tuple[ModuleType, ForeignDocument]:
    document = open_document(path)
    module = _find_format(document)
    if module is None:
        raise build_file_error(document.name, "it is not a supported result file", _FORMATS_HINT)
    return module, document


def _find_format(document: ForeignDocument) -> ModuleType | None:
    return next((module for module in _FORMATS if module.recognizes(document)), None)


def _check_plausibility(source: str, curve: ImportedCurve) -> None:
    if not curve.load_points:
        raise build_file_error(source, "it has no load point")
    if len(curve.load_points) > _MAX_LOAD_POINTS:
        raise build_file_error(source, f"it has more than {_MAX_LOAD_POINTS} load points")
    for load_point in curve.load_points:
        if load_point.offered_per_s == 0 or load_point.clients == 0:
            raise build_file_error(source, "one of its load points has an offered rate or a concurrency of 0")
        if max(load_point.offered_per_s or 0.0, load_point.achieved_per_s) > _MAX_PER_S:
            raise build_file_error(source, f"one of its rates is above {_MAX_PER_S:g} req/s")
        for metric, aggregates in load_point.latencies_s.items():
            _check_latencies(source, metric, aggregates)


def _check_latencies(source: str, metric: str, aggregates: dict[str, float]) -> None:
    metric_label = metric if metric == "latency" else metric.upper()
    if max(aggregates.values()) > _MAX_LATENCY_S:
        raise build_file_error(
            source,
            f"its {metric_label} of {max(aggregates.values()):.3g} s is implausibly high; check that the file states "
            "latency in the unit of its tool",
        )
    percentiles = sorted(
        (_parse_percent(name), value, name.replace("_", "."))
        for name, value in aggregates.items()
        if name.startswith("p")
    )
    for (_, low_value, low_name), (_, high_value, high_name) in pairwise(percentiles):
        if low_value > high_value * (1 + 1e-9):
            raise build_file_error(source, f"its {high_name} {metric_label} is below its {low_name} {metric_label}")


def _parse_percent(name: str) -> float:
    return float(name[1:].replace("_", "."))


def _sort_by_load(load_points: tuple[MeasuredLoadPoint, ...]) -> list[MeasuredLoadPoint]:
    """Sort load points by increasing load: by number of clients if all load points are from closed
    loops, otherwise by the offered rate, or by the achieved rate if a load point has no offered
    rate."""
    if all(load_point.clients is not None for load_point in load_points):
        return sorted(load_points, key=lambda load_point: (load_point.clients or 0.0, load_point.achieved_per_s))
    return sorted(
        load_points,
        key=lambda load_point: (load_point.offered_per_s or load_point.achieved_per_s, load_point.achieved_per_s),
    )


def _collect_notes(curve: ImportedCurve) -> tuple[str, ...]:
    needed_count = count_needed_samples(0.99)
    counts = [
        load_point.completed
        for load_point in curve.load_points
        if load_point.completed is not None and load_point.latencies_s
    ]
    sample_size_note = (
        f"a load point is based on only {min(counts)} requests; p99 needs {needed_count}"
        if counts and min(counts) < needed_count
        else None
    )
    closed_loop_note = (
        _CLOSED_LOOP_NOTE if any(load_point.clients is not None for load_point in curve.load_points) else None
    )
    return tuple(dict.fromkeys(note for note in (*curve.notes, closed_loop_note, sample_size_note) if note is not None))
