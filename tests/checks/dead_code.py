"""Code of the product that nothing in the product calls: `python -m tests.checks.dead_code`, part of `make check`.

vulture finds functions, methods, properties, classes and imports without a use, and code that cannot be reached. Unused
variables and attributes are left out: fields of records are written to files, and attributes are set on other
libraries' objects.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vulture

PRODUCT = ("app", "loadgen", "reports", "sizewise.py")
CALLED_BY_QT = (
    "*Event createEditor expandingDirections hasHeightForWidth highlightBlock mergeWith mimeTypes setEditorData "
    "setModelData supportedDragActions textFromValue"
)
CALLED_BY_LIBRARIES = (
    "tickStrings tickValues "  # pyqtgraph
    "connect_to_master heartbeat_worker recv_from_client run_stages send_arrivals "  # Locust
    "connection_lost on_body on_header on_url "  # asyncio, httptools
    "format_epilog format_options list_commands redirect_request "  # click, urllib
    "__call__ get_next handle_exit ignore_aliases writelines"  # of a Protocol; ONNX Runtime, uvicorn, PyYAML, io
)
CALLED_BY_TEMPLATES = "format_price_kinds"
CALLED_BY_TESTS = (
    "compile_all summarize_stage is_panicking "
    "add_connection_close build_endless_stream build_single_line_event build_stream_until_close close_connections "
    "slice_stream "  # these two lines: of the scripted server
    "drop_hint edit_price has_read_all_runs is_painting measure_command notice_text selected_index visible_texts "
    "unavailable_reasons "  # these two lines: of the window
    "build_published_loops fit_evidence format_evidence format_points load_published_points map_model_names"
)  # the last line: the fit of the bundled model of step times, which `tests.studies.published_llm` repeats
_DATA = frozenset({"attribute", "variable"})


def unused_code(root: Path) -> list[str]:
    """One line each: the place, and what is not used there."""
    allowed = f"{CALLED_BY_QT} {CALLED_BY_LIBRARIES} {CALLED_BY_TEMPLATES} {CALLED_BY_TESTS}".split()
    finder = vulture.Vulture(ignore_names=allowed, ignore_decorators=["@*validator*", "@*serializer*"])
    finder.scavenge([root / name for name in PRODUCT])
    found = [item for item in finder.get_unused_code(min_confidence=60) if item.typ not in _DATA]
    return [f"{item.filename}:{item.first_lineno}: unused {item.typ} {item.name}" for item in found]


if __name__ == "__main__":
    unused = unused_code(Path())
    for line in unused:
        print(line)
    sys.exit(bool(unused))
