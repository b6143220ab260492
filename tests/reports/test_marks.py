from __future__ import annotations

import msgspec

from reports.marks import DIM_END, DIM_START, compute_display_width, drop_marks, pad_text, replace_marks
from reports.model import HeadlineTile, Quantity, Report
from reports.text import render_text

FEW = Quantity(None, "ms", n=57, reason="57 of 72 required samples", undersampled=54.43)


def test_only_undersampled_percentiles_are_dimmed_and_columns_stay_aligned(full_report: Report) -> None:
    tiles = (*full_report.tiles, HeadlineTile(label="p95 TTFT", quantity=FEW))
    report = msgspec.structs.replace(full_report, tiles=tiles)
    marked = render_text(report, with_marks=True)
    assert marked.count(DIM_START) == marked.count(DIM_END) == 1
    assert f"{DIM_START}54.4 ms (n = 57){DIM_END}" in marked
    plain = render_text(report)
    assert plain == drop_marks(marked)
    first = next(line for line in plain.splitlines() if line.startswith("Numbers"))
    few = next(line for line in plain.splitlines() if "p95 TTFT" in line)
    assert first.index("measured") == few.index("57 of 72 required samples"), "the last column begins at the same place"


def test_marks_have_no_display_width() -> None:
    text = f"{DIM_START}54.4{DIM_END}"
    assert compute_display_width(text) == 4
    assert pad_text(text, 6) == f"{text}  "
    assert replace_marks(text, str, "<", ">") == "<54.4>"
