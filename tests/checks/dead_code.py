"""Code of the product that nothing in the product calls: `python -m tests.checks.dead_code`, part of `make check`.

vulture finds functions, methods, properties, classes and imports without a use, and code that cannot be reached. Its
unused variables and attributes are left out, since attributes are set on other libraries' objects. Fields of records
are checked here: a field needs an access, a pattern, a template or a string that contains its name, unless it is part
of a documented format.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import vulture

from app.records.protocols import PROTOCOLS
from loadgen.workloads import Workload
from reports.formats import REPORT_FORMATS

PRODUCT = ("app", "loadgen", "reports", "sizewise.py")
CALLED_BY_QT = (
    "*Event createEditor expandingDirections hasHeightForWidth highlightBlock mergeWith mimeTypes setEditorData "
    "setModelData supportedDragActions textFromValue"
)
CALLED_BY_LIBRARIES = (
    "tickStrings tickValues "  # pyqtgraph
    "connect_to_master heartbeat_worker recv_from_client run_stages send_arrivals "  # Locust
    "connection_lost on_body on_header on_url "  # asyncio, httptools
    "format_epilog format_options list_commands https_open readable redirect_request "  # click, urllib, io
    "__call__ get_next handle_exit ignore_aliases writelines"  # of a Protocol; ONNX Runtime, uvicorn, PyYAML, io
)
CALLED_BY_TEMPLATES = "format_price_kinds"
CALLED_BY_TESTS = (
    "compile_all summarize_stage is_panicking "
    "add_connection_close build_endless_stream build_single_line_event build_stream_until_close close_connections "
    "slice_stream "  # these two lines: of the scripted server
    "drop_hint edit_price has_read_all_runs is_painting measure_command notice_text selected_index visible_texts "
    "unavailable_reasons "  # these two lines: of the window
    "build_published_loops fit_evidence format_evidence format_points"
)  # the last line: the fit of the bundled model of step times, which `tests.studies.published_llm` repeats
FIELDS_OF_FORMATS = {
    "Bundle.sizewise_bundle": "version of the format of a bundle",
    "CalibrationStep.lag_p50_ms": "calibration.json",
    "EvidenceSource.license": "`sizewise evidence show`",
    "EvidenceSource.retrieved": "`sizewise evidence show`",
    "GpuFit.min_latency_basis": "`sizewise models inspect --output json`",
    "Labels.sizewise_labels": "version of the format of labels.json",
    "LatencyPercentiles.*": "read by names that are composed of metric and percentile",
    "SchedulerEvent.*": "log of the reference LLM server",
    "SimulatedDay.conservation": "`sizewise simulate --output json`",
    "StageData.extended_s": "events.jsonl",
}
"""Fields that the product writes and does not read, with the format that they belong to. The fields of `result.json`
need no entry: its schema documents them."""
FORMATS_OF_OTHERS = ("reports/llm_d.py",)
"""Modules whose records have the format of another tool."""
_RESULT_SCHEMA = Path("docs", "result.schema.json")
_RECORD_BASES = frozenset({"Struct", "NamedTuple"})
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TEMPLATE_ATTRIBUTE = re.compile(r"\.([a-z_]\w*)")
_DATA = frozenset({"attribute", "variable"})


def unused_code(root: Path) -> list[str]:
    """One line each: the place, and what is not used there."""
    allowed = f"{CALLED_BY_QT} {CALLED_BY_LIBRARIES} {CALLED_BY_TEMPLATES} {CALLED_BY_TESTS}".split()
    allowed += [workload.builder.rpartition(".")[2] for workload in get_args(Workload)]
    allowed += [name.rpartition(":")[2] for row in REPORT_FORMATS for name in (row.run, row.plan, row.comparison)]
    allowed += [protocol.profile for protocol in PROTOCOLS]
    finder = vulture.Vulture(ignore_names=allowed, ignore_decorators=["@*validator*", "@*serializer*"])
    finder.scavenge([root / name for name in PRODUCT])
    unused_items = [item for item in finder.get_unused_code(min_confidence=60) if item.typ not in _DATA]
    return [f"{item.filename}:{item.first_lineno}: unused {item.typ} {item.name}" for item in unused_items]


def unread_fields(root: Path) -> list[str]:
    """Return one line for each field of a record that no product code reads by its name."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in _iterate_modules(root)}
    read_names = {name for tree in trees.values() for name in _iterate_read_names(tree)}
    for template in sorted((root / "reports" / "templates").rglob("*")):
        if template.is_file():
            read_names.update(_TEMPLATE_ATTRIBUTE.findall(template.read_text("utf-8")))
    documented = _read_documented_fields(root / _RESULT_SCHEMA) | FIELDS_OF_FORMATS.keys()
    other_modules = {root / name for name in FORMATS_OF_OTHERS}
    return [
        f"{path}:{field.lineno}: unread field {record.name}.{name}"
        for path, record in _find_records(trees)
        if path not in other_modules and f"{record.name}.*" not in documented
        for name, field in _iterate_fields(record)
        if name not in read_names and f"{record.name}.{name}" not in documented
    ]


def _iterate_modules(root: Path) -> Iterator[Path]:
    for name in PRODUCT:
        paths = [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
        yield from (path for path in paths if not path.name.endswith("_pb2.py"))


def _iterate_read_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module reads: of attributes, in patterns, and in strings such as those of `getattr` or
    of the columns of a table."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.MatchClass(kwd_attrs=names):
                yield from names
            case ast.Constant(value=str(text)) if _NAME.fullmatch(text):
                yield from text.split(".")
            case ast.Constant(value=str(text)) if " | " in text:  # the layout of a section of a report
                yield from text.replace("|", " ").split()


def _find_records(trees: dict[Path, ast.Module]) -> list[tuple[Path, ast.ClassDef]]:
    """Find msgspec's structs, named tuples and data classes, and the classes derived from them."""
    classes = [
        (path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    record_names = set(_RECORD_BASES)
    while True:
        records = [(path, node) for path, node in classes if _is_record(node, record_names)]
        detected_names = {node.name for _, node in records} | record_names
        if detected_names == record_names:
            return records
        record_names = detected_names


def _is_record(node: ast.ClassDef, record_names: set[str]) -> bool:
    bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
    return bool(bases & record_names) or any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _iterate_fields(record: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    for node in record.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if "ClassVar" not in ast.unparse(annotation):
                    yield name, node


def _read_documented_fields(schema: Path) -> set[str]:
    """Return `Record.field` for each field in a JSON schema."""
    definitions = json.loads(schema.read_text("utf-8"))["$defs"] if schema.exists() else {}
    return {
        f"{record}.{field}" for record, definition in definitions.items() for field in definition.get("properties", ())
    }


if __name__ == "__main__":
    unused = [*unused_code(Path()), *unread_fields(Path())]
    for line in unused:
        print(line)
    sys.exit(bool(unused))
