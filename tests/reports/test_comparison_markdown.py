from __future__ import annotations

from reports.markdown import render_markdown
from reports.model import Report


def test_a_summary_tells_what_forbids_before_what_got_worse(compared_report: Report, full_report: Report) -> None:
    shown = render_markdown(compared_report)
    assert "### Comparison\n\nREGRESSION: of 2 metrics" in shown
    assert "**FORCED: these are not comparable (workload), and were compared all the same.**" in shown
    assert shown.index("| workload | asked | other | **not comparable** |") < shown.index(
        "| latency\\_ms.p95 | steady |"
    )
    assert "**worse**" in shown
    assert "### Comparison" not in render_markdown(full_report)
