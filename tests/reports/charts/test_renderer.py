from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from reports.charts.renderer import ChartError, ChartRenderer
from reports.model import Report
from tests.fakes.processes import children_of

pytestmark = pytest.mark.process

SPEC = {"data": {"values": [{"x": 1}]}, "mark": "bar", "encoding": {"x": {"field": "x"}}}
TOO_LITTLE_FOR_V8 = 6 << 20
"""KiB of address space: V8 reserves more than remains, and the rest of a report fits."""


@pytest.fixture
def renderer() -> Iterator[ChartRenderer]:
    renderer = ChartRenderer()
    yield renderer
    renderer.close()


def test_killed_chart_renderer_is_restarted(renderer: ChartRenderer) -> None:
    before = set(children_of(os.getpid()))
    assert renderer.render_svg(SPEC).startswith("<svg")
    (child,) = set(children_of(os.getpid())) - before
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert renderer.render_svg(SPEC).startswith("<svg")


def test_chart_refused_by_vega_raises_error_with_reason(renderer: ChartRenderer) -> None:
    with pytest.raises(ChartError, match="Cannot read properties of undefined"):
        renderer.render_svg({"mark": {}})


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_report_without_memory_for_charts_has_warning_and_all_other_content(
    full_report: Report, tmp_path: Path
) -> None:
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(full_report))
    script = f'ulimit -v {TOO_LITTLE_FOR_V8}; exec "$0" -m reports report.json -o report.html'
    result = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    message = "The report has no charts: the chart renderer was killed by signal"
    assert result.stderr.startswith(f"warning: {message}")
    page = (tmp_path / "report.html").read_text()
    assert message in page
    assert "<svg" not in page
    assert "p95 latency" in page


@pytest.mark.skipif(not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(), reason="needs a wide font")
def test_chart_layout_does_not_depend_on_installed_fonts(renderer: ChartRenderer) -> None:
    labels = {"data": {"values": [{"x": "a wide label"}]}, "mark": "bar", "encoding": {"y": {"field": "x"}}}
    of_machine, of_none = (
        renderer.render_svg({**labels, "config": {"font": font}}) for font in ("DejaVu Sans", "Nowhere Sans")
    )
    assert of_machine == of_none.replace("Nowhere Sans", "DejaVu Sans")
