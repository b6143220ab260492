from __future__ import annotations

import base64
import hashlib
import random
import re
import subprocess
import sys
import zlib
from collections import Counter
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import msgspec
import pytest

from app.analysis.headline import mark_headline
from reports import html
from reports.charts.renderer import get_chart_renderer
from reports.html import MAX_BYTES, PREFERRED_BYTES, encode_inert_json, render_html, render_plan_html
from reports.markdown import render_markdown
from reports.model import Download, LiveSessionRow, MediaRow, MessageRow, NamedQuantity, PlanReport, Report
from reports.plan_section import CapacityUncertainty, PercentileRange
from reports.quantity import Quantity
from reports.text import render_plan, render_text
from tests.fakes.results import Run, full_run
from tests.reports.conftest import Rendered, report_of
from tests.reports.hostile import PAYLOADS, hostile
from tests.tiers import first_in_unit_tier

_SVG = {"svg", "g", "path", "text", "line", "rect", "defs", "clippath", "tspan"}


class _Elements(HTMLParser):
    """The elements of a page: tags and attribute names, in and outside of pictures, and the text between."""

    def __init__(self) -> None:
        super().__init__()
        self.page: list[tuple[str, tuple[str, ...]]] = []
        self.picture: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._depth += tag == "svg"
        self.attributes |= {name for name, _ in attrs}
        if self._depth:
            self.picture[tag] += 1
        else:
            self.page.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "svg"


def _elements(html: str) -> _Elements:
    parser = _Elements()
    parser.feed(html)
    parser.close()
    return parser


def _unfolded(html: str) -> str:
    """The page without its `details` elements."""
    depth, parts = 0, []
    for part in re.split(r"(<details[^>]*>|</details>)", html):
        depth += part.startswith("<details")
        depth -= part == "</details>"
        parts += [] if depth else [part]
    return "".join(parts)


def _text(html: str) -> str:
    """The text of the page from top to bottom, without the table of contents, which names the sections, too."""
    body = re.sub(r"(?s)<(script|style|svg|nav).*?</\1>", "", html)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.process
def test_html_report_is_identical_in_another_process(full_report: Report, full_html: str, tmp_path: Path) -> None:
    stored = tmp_path / "report.json"
    stored.write_bytes(msgspec.json.encode(full_report))
    command = [sys.executable, "-m", "reports", str(stored), "-o", str(tmp_path / "report.html")]
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "report.html").read_text("utf-8") == full_html


def test_html_report_is_small_and_omits_large_result_json(full_report: Report, full_html: str) -> None:
    assert len(full_html.encode()) < PREFERRED_BYTES

    large = msgspec.structs.replace(full_report, result_json=random.Random(1).randbytes(PREFERRED_BYTES).hex())
    html = render_html(large)
    assert len(html.encode()) < PREFERRED_BYTES
    assert "result.json is too large to embed" in html


@pytest.mark.usefixtures("pages_without_charts")
@pytest.mark.parametrize(
    ("times", "max_bytes", "row_limit"),
    [(10, 1_500_000, 100), pytest.param(200, MAX_BYTES, 1000, marks=pytest.mark.soak)],
)
def test_oversized_html_report_shows_row_limit_above_first_number(
    full_report: Report, monkeypatch: pytest.MonkeyPatch, times: int, max_bytes: int, row_limit: int
) -> None:
    monkeypatch.setattr(html, "MAX_BYTES", max_bytes)
    monkeypatch.setattr(html, "_ROW_LIMITS", tuple(limit for limit in html._ROW_LIMITS if limit <= row_limit))
    stages = tuple(
        msgspec.structs.replace(stage, name=f"{stage.name} {turn}")
        for turn in range(times)
        for stage in full_report.stages
    )
    spec = msgspec.structs.replace(full_report.reproduce, spec_text="x: y\n" * 200_000)
    page = render_html(msgspec.structs.replace(full_report, stages=stages, reproduce=spec))
    assert len(page.encode()) < max_bytes
    text = _text(page)
    assert text.index(f"{row_limit:,} of {13 * times:,} stages") < text.index("41.6")
    assert f"{1_000_000 - 100 * row_limit:,} more characters, see report.json" in text
    assert page.count('<tr><th scope="row">probe') > row_limit / 2


def test_embedded_result_json_can_be_extracted(full_report: Report, full_html: str) -> None:
    block = re.search(r'data-file="result.json">([^<]*)<', full_html)
    assert block is not None
    assert zlib.decompress(base64.b64decode(block[1])).decode() == full_report.result_json
    assert f"<code>{hashlib.sha256(full_report.result_json.encode()).hexdigest()}</code>" in full_html


def test_downloads_are_relative_links_with_checksums(full_report: Report) -> None:
    names = ("report-requests.parquet", "javascript:hit()", "//example.invalid/x", "../up", "a b?#")
    downloads = tuple(Download(name=name, contents="rows", sha256="ab" * 32, size_bytes=1200) for name in names)
    html = render_html(msgspec.structs.replace(full_report, downloads=downloads))
    links = [link for link in re.findall(r'href="([^"]*)"', html) if not link.startswith("#")]
    assert links == [
        "./report-requests.parquet", "./javascript%3Ahit%28%29", "./%2F%2Fexample.invalid%2Fx", "./..%2Fup",
        "./a%20b%3F%23",
    ]  # fmt: skip
    assert html.count("ab" * 32) == len(names)


def test_html_of_planned_run_starts_with_verdict_decision_evidence_and_caveats(full_html: str) -> None:
    text = _text(full_html)
    order = [
        text.index(part)
        for part in (
            "PASS", "7 × aws/c7i.large, $456/month", "Serves 900", "Evidence: medium", "1 caveat: step duration",
            "9 of 10 checks passed", "Demand over the day vs. capacity", "Max rate 218", "Objectives",
            "Basis of the decision", "p95 latency by offered rate", "Evidence by basis", "Cost and alternatives",
            "Endpoint under load", "Appendix", "All validity checks",
        )
    ]  # fmt: skip
    assert order == sorted(order)


def test_html_of_run_without_plan_starts_with_max_rate_interval_and_basis(
    full_report: Report,
) -> None:
    html = render_html(msgspec.structs.replace(full_report, plan=None))
    text = _text(html)
    order = [
        text.index(part)
        for part in (
            "Result PASS", "Max rate 218", "The 95 % CI is 218–238", "Evidence: medium",
            "measured on this machine, 2 vCPU, with 11 stages", "The measurement has warnings.", "At 238 req/s",
            "1 caveat: step duration", "p95 latency by offered rate", "Objectives", "Appendix", "There is no plan.",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    first = html[html.index('<section id="decision"') : html.index('<section id="headlines">')]
    assert 'id="chart-curve"' in first
    assert 'id="basis"' not in html


def test_html_of_invalid_run_shows_verdict_and_open_caveats_before_plan(full_report: Report) -> None:
    verdict = msgspec.structs.replace(
        full_report.verdict, outcome="INVALID", validity="INVALID", headline="Measurement invalid: do not use"
    )
    html = render_html(msgspec.structs.replace(full_report, verdict=verdict))
    text = _text(html)
    assert text.index("Measurement invalid") < text.index("Evidence: low") < text.index("7 × aws/c7i.large")
    assert '<details class="caveats" open>' in html


def test_empty_sections_and_checksums_are_folded(full_html: str, rendered: Rendered) -> None:
    empty = rendered("empty_report")
    for page in (full_html, empty):
        assert "SHA-256" in page
        assert "SHA-256" not in _unfolded(page)
        assert 'class="empty"' not in _unfolded(page)
    assert 'class="empty"' in empty
    sections = re.findall(r'<section id="([^"]*)"', full_html)
    assert re.findall(r'<li><a href="#([^"]*)">', full_html) == sections[2:]
    assert re.findall(r'<section id="([^"]*)"', rendered("empty_report")) == ["decision", "headlines", "appendix"]


def test_passed_checks_are_one_line_in_html(full_report: Report) -> None:
    checks = tuple(check for check in full_report.checks if check.verdict == "VALID")
    assert "9 checks passed" in _text(render_html(msgspec.structs.replace(full_report, checks=checks)))


def test_html_report_has_no_external_reference(full_html: str) -> None:
    html = full_html
    assert _elements(html).attributes.isdisjoint({"src", "onload", "onerror", "onclick", "style", "action"})
    assert {link for link in re.findall(r'href="([^"]*)"', html) if not link.startswith("#")} == set()


def test_content_security_policy_allows_only_hashed_content(full_html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', full_html)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy[1]
    assert policy[1].count("sha256-") == 3


@pytest.fixture(scope="module")
def harmless(full_report: Report) -> _Elements:
    return _elements(render_html(hostile(full_report, "plain text ")))


@pytest.mark.parametrize(
    "payload",
    first_in_unit_tier(["".join(PAYLOADS), *("\n".join(PAYLOADS[at : at + 3]) for at in range(0, len(PAYLOADS), 3))]),
)
def test_hostile_text_adds_no_element_and_no_attribute_to_html(
    full_report: Report, harmless: _Elements, payload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "PREFERRED_BYTES", MAX_BYTES)  # so long a text would push the raw result out of the page
    attacked = _elements(render_html(hostile(full_report, payload)))
    assert attacked.page == harmless.page
    assert set(attacked.picture) <= _SVG
    assert attacked.attributes == harmless.attributes


def test_embedded_json_has_no_character_that_ends_script_element() -> None:
    block = encode_inert_json({"a": "</script>&\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(block)
    assert msgspec.json.decode(str(block)) == {"a": "</script>&\u2028\u2029"}


def test_html_tables_have_captions_and_charts_have_text_alternatives(full_html: str) -> None:
    html, tags = full_html, Counter(tag for tag, _ in _elements(full_html).page)
    assert tags["table"] == tags["caption"] > 10
    assert "<th>" not in html
    assert html.count('role="img" aria-label="') == html.count("<figure") == 13
    assert html.count('class="chart-data"') == 13


def test_empty_sections_show_their_reason(rendered: Rendered) -> None:
    text = _text(rendered("empty_report"))
    for sentence in (
        "There are no results", "No objectives are set.", "This run measured only the endpoint.",
        "There is no max rate", "No request data was", "No machine telemetry was recorded",
        "No GPU telemetry was recorded", "There is no plan.",
    ):  # fmt: skip
        assert sentence in text


def test_undersampled_percentile_is_gray_with_explanation(full_html: str) -> None:
    title = "too few samples for a percentile: 150 of 368 required samples"
    assert f'<span class="number undersampled" title="{title}">9.59\u202fms (n = 150)</span>' in full_html


def test_html_of_interrupted_run_shows_available_results(rendered: Rendered) -> None:
    text = _text(rendered("interrupted_report"))
    assert "INCONCLUSIVE" in text
    assert "the user stopped the run" in text
    assert "p95 latency by offered rate" in text
    assert "There is no plan." in text


@pytest.mark.parametrize("requests", [1, 2, 150])
def test_html_of_short_single_stage_run_has_all_sections(requests: int) -> None:
    run = full_run()
    probe = next(candidate for candidate in run.result.stages if candidate.name == "probe 50 req/s")
    stage = msgspec.structs.replace(probe, name="steady", kind="steady")
    rows = run.rows[run.rows["stage"] == 2].iloc[:requests]
    result = msgspec.structs.replace(
        run.result, stages=mark_headline((stage,)), max_rate=None, plan=None, slo=(), gates=()
    )
    page = render_html(report_of(Run(result, rows, run.telemetry.iloc[:0])))
    text = _text(page)
    assert ('id="chart-ecdf"' in page) == (requests > 1)
    assert ('id="chart-heat"' in page) == (requests > 1)
    assert 'id="chart-rates"' in page
    assert 'id="chart-curve"' not in page, "one point is no curve"
    for heading in (
        "Objectives", "Endpoint under load", "Stage", "Host and processes", "Errors",
        "Cost and alternatives", "Method", "Validity checks", "Environment", "Reproduce", "Data",
    ):  # fmt: skip
        assert heading in text


def test_invalid_numbers_are_struck_through_in_html(full_report: Report) -> None:
    def mark_invalid(quantity: msgspec.Struct) -> msgspec.Struct:
        return msgspec.structs.replace(quantity, validity="INVALID")

    tile = full_report.tiles[0]
    tiles = (msgspec.structs.replace(tile, quantity=mark_invalid(tile.quantity)),)
    html = render_html(msgspec.structs.replace(full_report, tiles=tiles))
    assert re.search(r'<s class="big">218', html)


def test_unavailable_number_has_its_reason_as_tooltip(rendered: Rendered) -> None:
    assert '<abbr title="not evaluated: no stage qualified">n/a</abbr>' in rendered("interrupted_report")


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colors_have_wcag_aa_contrast(full_html: str, theme: str) -> None:
    """WCAG 2 AA: 4.5 for text, and no less for lines of charts."""
    light, dark = re.findall(r":root \{(.*?)\}", full_html, re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", light if theme == "light" else dark))
    for ground in ("paper", "raised"):
        for name in colours.keys() - {"paper", "raised", "grid"}:
            bright, dim = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, f"{name} on {ground}"


def test_html_of_streaming_run_shows_token_metrics_and_their_caveats(rendered_text: Rendered, full_html: str) -> None:
    text = _text(rendered_text("streaming_report"))
    order = [
        text.index(part) for part in ("Prompt lengths are approximate", "15 checks passed", "p95 TTFT 252", "p50 TPOT")
    ]
    assert order == sorted(order)
    for part in ("Cold start", "first response 9,050", "Requests by target", "a response ends at its last token"):
        assert part in text
    assert "TTFT" not in _text(full_html)


def test_html_of_spike_run_shows_recovery(rendered_text: Rendered) -> None:
    text = _text(rendered_text("spike_report"))
    assert "Spikes" in text
    assert "burst 40 → 200 req/s 4.00 s 10.0 s 373 requests 6.03 s" in text
    assert "Stage morning had these arrivals: Poisson, ramp 0→150 req/s." in text


def test_html_of_closed_loop_shows_latency_by_concurrency(rendered_text: Rendered) -> None:
    html = rendered_text("clients_report")
    assert "Latency by concurrency" in html
    assert "a slower target receives fewer requests" in html
    assert 'id="chart-curve"' not in html


def test_html_of_locust_run_shows_service_time_and_omission_warning(rendered_text: Rendered) -> None:
    text = _text(rendered_text("locust_report"))
    for part in (
        "coordinated omission cannot be ruled out",
        "p95 service time",
        "/item/[id]",
        "service time is available, latency is not",
    ):
        assert part in text


def test_html_of_local_run_shows_all_sections_in_order(rendered: Rendered) -> None:
    html = rendered("local_report")
    text = _text(html)
    order = [
        text.index(part)
        for part in (
            "within SLO (p99 service time", "Cost per 1M inferences", "Model variants",
            "batch 4 is beyond the SLO already", "cuda needs an NVIDIA GPU", "Bottleneck",
            "Call time breakdown", "Cold start",
            "cached", "McNemar", "identical", "Operator placement",
            "Host and processes", "Method",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    for key in ("variants-front", "batch-latency", "batch-throughput", "roofline"):
        assert f'id="chart-{key}"' in html
    for foreign in ("Endpoint under load", "No request data", "There is no plan.", "/home/someone"):
        assert foreign not in text
    tags = Counter(tag for tag, _ in _elements(html).page)
    assert tags["table"] == tags["caption"]
    assert "<th>" not in html


def test_search_steps_of_local_run_are_dimmed(rendered: Rendered) -> None:
    html = rendered("searched_report")
    assert html.count('<tr class="tried">') == 3
    assert "search step, SLO missed: at 800 calls/s" in html
    assert "9,000 arrivals never started" in html
    parts = html[html.index("Call time breakdown") : html.index("Operator placement")]
    assert re.findall(r"server at \S+", parts) == ["server at 400"]


def test_lower_bound_of_call_rate_is_marked(searched_report: Report) -> None:
    assert searched_report.local is not None
    bound = msgspec.structs.replace(searched_report.local.variants[0], is_arrivals_lower_bound=True)
    local = msgspec.structs.replace(searched_report.local, variants=(bound,))
    html = render_html(msgspec.structs.replace(searched_report, local=local))
    assert re.search(r"≥\s*<span[^>]*>400\s*calls/s", html)


def test_tables_of_many_variants_are_folded(local_report: Report) -> None:
    assert local_report.local is not None
    first = local_report.local.variants[0]
    many = tuple(msgspec.structs.replace(first, name=f"variant {number}") for number in range(20))
    local = msgspec.structs.replace(local_report.local, variants=many)
    html = render_html(msgspec.structs.replace(local_report, local=local))
    for summary in ("The other 4 variants", "Call time breakdown, for 20 variants", "Accuracy, for 20 variants"):
        assert f"<summary>{summary}</summary>" in html
    assert len(html.encode()) < MAX_BYTES


def test_html_of_language_model_run_shows_generation_tests_and_no_calls(rendered: Rendered) -> None:
    html = rendered("language_model_report")
    assert "<p>Prefill: compute bound: 80 % of the peak</p><p>Decode: memory bound: 80 % of the peak</p>" in html
    assert "Predictions on the text of the profile, compared with batch 1" in html
    text = _text(html)
    order = [
        text.index(part)
        for part in (
            "Max decode throughput", "Cost per 1M output tokens", "Model variants", "Prefill throughput by test",
            "Decode throughput by depth", "Memory by variant", "All variants and tests",
            "measurement 2", "out of memory", "memory after opening", "KV cache (computed)",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    for foreign in ("inferences", " calls", "Call time breakdown", "MLPerf", "Operator placement", "/home/someone"):
        assert foreign not in text
    assert "<th>" not in html


def test_invalid_variant_is_struck_through_and_its_fallbacks_are_named(rendered_text: Rendered) -> None:
    html = rendered_text("fallback_report")
    assert re.search(r'<s title="INVALID[^>]*>1,000</s>', html)
    assert "Conv 10 (fallback)" in _text(html)


def test_html_of_run_with_one_or_no_measured_variant_is_complete(rendered: Rendered) -> None:
    alone, failed = rendered("alone_report"), rendered("failed_report")
    assert "Max throughput 500 inferences/s (single-stream): digits cpu as-is" in _text(alone)
    assert 'class="badge best"' not in alone
    assert "No best variant" in _text(failed)
    assert "batch 8 ended early out of memory." in _text(failed)
    for part in ("Cold start", "McNemar", "Operator placement"):
        assert part not in failed


_KINDS = (
    "local_report",
    "streaming_report",
    "language_model_report",
    "compared_report",
    "spike_report",
    "clients_report",
    "locust_report",
    "fallback_report",
)


@pytest.mark.parametrize("name", first_in_unit_tier(_KINDS))
def test_hostile_text_adds_no_element_to_any_kind_of_report(
    name: str, rendered: Rendered, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_nothing_is_added_to_a_run(request.getfixturevalue(name), monkeypatch)
    assert len(rendered(name).encode()) < PREFERRED_BYTES


@pytest.mark.usefixtures("pages_without_charts")
@pytest.mark.parametrize("name", first_in_unit_tier(_KINDS[1:], 3))
def test_hostile_text_adds_no_element_outside_charts_of_any_kind_of_report(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_nothing_is_added_to_a_run(request.getfixturevalue(name), monkeypatch)


def _assert_nothing_is_added_to_a_run(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "PREFERRED_BYTES", MAX_BYTES)  # so long a text would push the raw result out of the page
    attacked = _elements(render_html(hostile(report, "".join(PAYLOADS))))
    harmless = _elements(render_html(hostile(report, "plain text ")))
    assert attacked.page == harmless.page
    assert attacked.attributes == harmless.attributes


def test_html_of_planned_run_shows_probability_sensitivity_and_alternatives(rendered: Rendered) -> None:
    html = rendered("planned_report")
    text = _text(html)
    order = [
        text.index(part)
        for part in (
            "5 × gcp/g2-standard-4, $2,577/month", "with 95.3", "Evidence: high", "The capacity was measured on",
            "P(SLO met) at peak by number of instances",
            "41.2 % with 3; 95.3 % with 4 (planned); over 99.9 % with 5 instances. The target is 95 %.",
            "4 planned (need P10–P90: 3–5)", "simulation, least-outstanding load balancing",
            "Monthly cost vs. p95 TTFT at peak", "Cost sensitivity", "Bottleneck",
            "Peak day by hour", "Unit cost of the recommended fleet, $", "Energy and carbon: energy 262 (190–330)",
            "Savings by change, one at a time", "Were 2 reserved for a year", "together cost 297 USD less",
            "Feasible offers by cost, on-demand or owned", "1 excluded offer",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    for key in ("demand", "probability", "front", "tornado", "day"):
        assert f'id="chart-{key}"' in html
    assert len(html.encode()) < MAX_BYTES


def test_plan_numbers_are_equal_in_html_and_text(rendered: Rendered, whole_plan_report: PlanReport) -> None:
    page = _text(rendered("whole_plan_report")).replace("\u202f", " ")
    text = " ".join(render_plan(whole_plan_report.plan).split())
    row = whole_plan_report.plan.recommended_row
    assert row is not None
    assert row.slo_probabilities is not None
    shown = (
        f"{100 * row.slo_probabilities.planned:.1f} %", f"{100 * row.slo_probabilities.one_fewer:.1f} %",
        "over 99.9 %", "1,984–3,067",
        "0.0000201", "0.00815", "0.0173", "262 (190–330) kWh/month", "$67.78/day", "highest p95 latency is 4,800 ms",
        "2,062", "3,608", "1,031", "a month would cost 1,710 USD", "Measured on one L4.",
    )  # fmt: skip
    for number in shown:
        assert number in page, number
        assert number in text, number


@pytest.mark.usefixtures("pages_without_charts")
def test_commands_in_notes_are_code_and_escaped(whole_plan_report: PlanReport) -> None:
    plan = msgspec.structs.replace(whole_plan_report.plan, notes=("Run `sizewise plan <X>`, then `ls`.",))
    html = render_plan_html(msgspec.structs.replace(whole_plan_report, plan=plan))
    assert "<li>Run <code>sizewise plan &lt;X&gt;</code>, then `ls`.</li>" in html


def test_html_in_offer_name_is_escaped(rendered: Rendered) -> None:
    html = rendered("whole_plan_report")
    page = re.sub(r"(?s)<script>.*?</script>", "", html)  # the library knows of images
    assert "<img" not in page
    assert "rack &lt;img src=x onerror=hit()&gt;@cellar" in html
    assert "\\u003cimg src=x" in html, "in the data of a chart, as an escape"
    assert not _elements(html).attributes & {"onerror", "src"}


@pytest.mark.usefixtures("pages_without_charts")
def test_hostile_text_adds_no_element_outside_charts_of_plan_page(whole_plan_report: PlanReport) -> None:
    _assert_nothing_is_added(whole_plan_report, "".join(PAYLOADS))


@pytest.mark.soak
@pytest.mark.parametrize(
    "payload", ["".join(PAYLOADS), *("\n".join(PAYLOADS[at : at + 5]) for at in range(0, len(PAYLOADS), 5))]
)
def test_hostile_text_adds_no_element_to_plan_page(whole_plan_report: PlanReport, payload: str) -> None:
    _assert_nothing_is_added(whole_plan_report, payload)


def _assert_nothing_is_added(plan: PlanReport, payload: str) -> None:
    attacked = _elements(render_plan_html(hostile(plan, payload)))
    harmless = _elements(render_plan_html(hostile(plan, "plain text ")))
    assert attacked.page == harmless.page
    assert attacked.attributes == harmless.attributes


@pytest.mark.parametrize("name", ["whole_plan_report", "max_rate_plan_report", "no_offer_plan_report"])
def test_plan_page_is_complete_and_well_formed(name: str, rendered: Rendered) -> None:
    html = rendered(name)
    text = _text(html)
    tags = Counter(tag for tag, _ in _elements(html).page)
    assert tags["table"] == tags["caption"] >= 2
    assert tags["section"] == html.count("</section>") == 5
    assert html.count("<div") == html.count("</div>")
    assert "<th>" not in html
    for part in ("Plan: ", "Sources", "one L4 24.0", "3 offers evaluated, 1 of them custom",
                 "prices as of 2026-07-09 to 2026-08-01", "sizewise plan chat.yaml"):  # fmt: skip
        assert part in text
    assert len(html.encode()) < MAX_BYTES


def test_plan_page_shows_uncertain_capacity_before_bottleneck(max_rate_plan_report: PlanReport) -> None:
    spread = PercentileRange(p10=2.0, p50=4.0, p90=9.0)
    unsure = CapacityUncertainty(
        state="uncertain", per_instance_per_s=spread, headline="Not known.", next_step="Measure it."
    )
    plan = msgspec.structs.replace(max_rate_plan_report.plan, capacity_knowledge=unsure)
    text = _text(render_plan_html(msgspec.structs.replace(max_rate_plan_report, plan=plan)))
    assert text.index("Not known.") < text.index("Measure it.") < text.index("Bottleneck")


def test_plan_page_based_on_max_rate_reports_missing_data(rendered: Rendered) -> None:
    html = rendered("max_rate_plan_report")
    text = _text(html)
    assert "measured max rate of 20260801-chat only" in text
    assert '<abbr title="no service model, or saturation never reached' in html
    assert "Energy and carbon: n/a, the power of a CPU instance is unknown." in text
    assert 'id="chart-day"' not in html
    assert 'id="chart-tornado"' not in html
    assert (
        "These inputs do not change the monthly cost or the cheapest offer: router (least outstanding to random)."
        in text
    )


def test_plan_page_without_feasible_offer_names_cheapest_excluded_offer(rendered: Rendered) -> None:
    html = rendered("no_offer_plan_report")
    text = _text(html)
    assert "Plan: no offer fits" in text
    assert "Cheapest excluded aws/g4dn.xlarge@us-east-1: its memory of 16 GiB" in text
    assert "2 excluded offers" in text
    assert text.index("No offer sustains a peak of 90.0") < text.index("Cost and alternatives")
    assert "Evidence:" not in text
    assert "<figure" not in html


def test_chart_library_is_cached_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "sizewise"))
    bundled: list[str] = []

    def bundle(code: str) -> str:
        bundled.append(code)
        return "bundled"

    monkeypatch.setattr(get_chart_renderer(), "bundle_library", bundle)
    monkeypatch.setattr(html, "LIBRARY_SHA256", {version("vl-convert-python"): hashlib.sha256(b"bundled").hexdigest()})

    def load() -> str:
        html.load_library.cache_clear()
        return html.load_library()

    assert load() == "bundled"
    (cached_path,) = tmp_path.glob("sizewise/cache/*.js")
    assert cached_path.read_bytes() == b"bundled"
    assert (load(), len(bundled)) == ("bundled", 1)
    cached_path.write_bytes(b"alert(1)")
    assert (load(), len(bundled)) == ("bundled", 2)
    assert cached_path.read_bytes() == b"bundled"
    for digests in ({}, {version("vl-convert-python"): "that of another processor"}):
        monkeypatch.setattr(html, "LIBRARY_SHA256", digests)
        cached_path.write_bytes(b"")
        assert load() == "bundled"
        assert cached_path.read_bytes() == b""
    cached_path.unlink()
    cached_path.parent.rmdir()
    cached_path.parent.write_text("a file where the folder would be")
    assert load() == "bundled"
    html.load_library.cache_clear()


@pytest.mark.skipif(
    version("vl-convert-python") not in html.LIBRARY_SHA256, reason="the digest of another version is not known"
)
def test_chart_library_has_recorded_digest() -> None:
    library = get_chart_renderer().bundle_library("window.vegaEmbed = vegaEmbed;")
    assert html.LIBRARY_SHA256[version("vl-convert-python")] == hashlib.sha256(library.encode()).hexdigest()


def test_live_sessions_and_prefix_reuse_are_html_tables(full_report: Report) -> None:
    sessions = LiveSessionRow(
        stage="chat", outcomes={"completed": 1203, "cut off": 4}, built_requests=4012,
        build_mean=Quantity(52.3, "µs"), build_max=Quantity(None, "µs", reason="not measured"),
    )  # fmt: skip
    reuse = NamedQuantity(name="served by the server's cache", quantity=Quantity(0.553, "share"))
    text = _text(render_html(msgspec.structs.replace(full_report, sessions=(sessions,), prefix_reuse=(reuse,))))
    assert "stage completed cut off built requests mean time maximum time chat 1,203 4 4,012 52.3 µs n/a" in text
    assert "share of the prompt tokens served by the server&#39;s cache 55.3 %" in text


def test_audio_table_has_no_image_columns(full_report: Report) -> None:
    missing = Quantity(None, "", reason="not measured")
    row = MediaRow(
        stage="tts", ttfa_p50=Quantity(55.7, "ms"), ttfa_p95=Quantity(67.8, "ms"), ttfa_p99=missing,
        response_p50=missing, response_p95=missing,
        rtf_p50=Quantity(0.192, ""), rtf_p95=missing, audio_mean=Quantity(1.0, "s"), audio_per_s=Quantity(11.6, "s/s"),
        images_per_s=missing, throughput=Quantity(11.6, "1/s"),
    )  # fmt: skip
    report = msgspec.structs.replace(full_report, media=(row,))
    text = _text(render_html(report))
    assert "stage p50 TTFA p95 TTFA p50 RTF mean audio audio throughput throughput tts 55.7 ms" in text
    printed = render_text(report)
    assert "Media      stage  p50 TTFA  p95 TTFA  p50 RTF  mean audio  audio s/s  req/s\n" in printed
    assert "           tts    55.7      67.8      0.192    1.00        11.6       11.6\n" in printed
    header = "| stage | p50 TTFA | p95 TTFA | p50 RTF | mean audio | audio throughput | throughput |"
    assert header in render_markdown(report)
    pictures = msgspec.structs.replace(
        row, ttfa_p50=missing, ttfa_p95=missing, rtf_p50=missing, audio_mean=missing, audio_per_s=missing,
        images_per_s=Quantity(3.0, "images/s"),
    )  # fmt: skip
    lines = render_text(msgspec.structs.replace(full_report, media=(pictures,))).splitlines()
    index = lines.index("Media      stage  images/s  req/s")
    assert lines[index + 1 : index + 3] == ["           tts    3.00      11.6", ""], "no legend of audio"


def test_message_streams_are_html_table(full_report: Report) -> None:
    names = ("first_p50", "first_p95", "first_p99", "gap_p50", "gap_p95", "gap_p99")
    times = {name: Quantity(float(number), "ms") for number, name in enumerate(names, 11)}
    row = MessageRow(stage="calm", per_s=Quantity(170, "messages/s"), per_response=Quantity(4, "messages"), **times)
    text = _text(render_html(msgspec.structs.replace(full_report, messages=(row,))))
    assert "calm 170 messages/s 4.00 messages 11.0 ms 12.0 ms" in text


@pytest.mark.parametrize(
    "name",
    [
        "full_report",
        "streaming_report",
        "spike_report",
        "clients_report",
        "locust_report",
        "local_report",
        "fallback_report",
        "language_model_report",
        "failed_report",
        "whole_plan_report",
    ],
)
def test_charts_are_valid_vega_lite_with_existing_fields(name: str, rendered_text: Rendered) -> None:
    specs = re.findall(
        r'<script type="application/json" id="spec-[^"]*">(.*?)</script>', rendered_text(name), re.DOTALL
    )
    assert len(specs) >= 3
    for text in specs:
        spec = msgspec.json.decode(text)
        del spec["config"]  # the schema wants a colour where no background is meant
        alt.LayerChart.validate(spec)
        assert _list_encoded_fields(spec) <= _list_data_fields(spec)


def _list_encoded_fields(spec: Any) -> set[str]:
    if isinstance(spec, list):
        return set().union(*map(_list_encoded_fields, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["field"]} if isinstance(spec.get("field"), str) else set()
    parts = (part for key, part in spec.items() if key not in ("data", "datasets", "transform", "params"))
    return own.union(*map(_list_encoded_fields, parts))


def _list_data_fields(spec: Any) -> set[str]:
    """The fields of the data, and those that transforms add."""
    if isinstance(spec, list):
        return set().union(*map(_list_data_fields, spec))
    if not isinstance(spec, dict):
        return set()
    datasets = [*spec.get("datasets", {}).values(), spec.get("data", {}).get("values", [])]
    added = spec.get("as", [])
    own = {field for rows in datasets for row in rows for field in row} | {
        *([added] if isinstance(added, str) else added)
    }
    parts = (part for key, part in spec.items() if key not in ("data", "datasets"))
    return own.union(*map(_list_data_fields, parts))


def _load_templates(monkeypatch: pytest.MonkeyPatch) -> int:
    """Load all templates as a new process does, and return how many of them were compiled."""
    compiled: list[str | None] = []
    compile_template = jinja2.Environment.compile

    def count(self: jinja2.Environment, source: str, name: str | None = None, *arguments: Any) -> Any:
        compiled.append(name)
        return compile_template(self, source, name, *arguments)

    html._build_environment.cache_clear()
    environment = html._build_environment()
    with monkeypatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", count)
        for name in environment.list_templates():
            environment.get_template(name)
    return len(compiled)


def test_templates_are_compiled_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    count = _load_templates(monkeypatch)
    assert count > 0
    assert _load_templates(monkeypatch) == 0
    folder = tmp_path / "cache" / "templates"
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    assert _load_templates(monkeypatch) == count


def test_templates_are_compiled_without_a_usable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert _load_templates(monkeypatch) == _load_templates(monkeypatch) > 0
