"""Render a report as one offline HTML file: the decision or the result first, and charts as SVG
that a script makes interactive.

The page also contains compressed files that the reader can save.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import platformdirs
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import comparison_text, decision, formatting, plan_sentences
from reports.charts.batch_size import batch_charts
from reports.charts.capacity import demand_and_capacity
from reports.charts.concurrency import concurrency_charts
from reports.charts.curve import rate_curve
from reports.charts.ecdf import latency_cdf
from reports.charts.heat import latency_heat_map
from reports.charts.over_time import latency_over_time, rates_over_time
from reports.charts.pareto import cost_pareto_front, role_of
from reports.charts.peak_day import peak_day
from reports.charts.percentiles import latency_percentiles
from reports.charts.picture import Chart, render_svg
from reports.charts.probability import slo_probability
from reports.charts.renderer import ChartError, chart_renderer
from reports.charts.roofline import roofline
from reports.charts.telemetry import machine_charts
from reports.charts.tokens import token_charts
from reports.charts.tornado import tornado
from reports.charts.variants import variant_pareto_front
from reports.comparison_section import ComparisonReport
from reports.formatting import sanitize
from reports.local_model import VariantRow
from reports.model import OfferRow, PlanReport, PlanSection, Report
from reports.tables import build_tables, plan_tables
from reports.truncation import truncate_plan, truncate_report

_MAX_TABLE_BYTES = 500_000
"""Maximum size in bytes of an embedded table. A larger table is written only as a separate file."""


class EmbeddedFile(msgspec.Struct, frozen=True):
    name: str
    packed: Markup
    """Content of the file, compressed with zlib and base64-encoded."""
    sha256: str
    """SHA-256 of the uncompressed content."""


def embed_text(name: str, text: str) -> EmbeddedFile:
    content = text.encode()
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return EmbeddedFile(name, Markup(data), hashlib.sha256(content).hexdigest())


def embed_tables(tables: Mapping[str, str]) -> tuple[EmbeddedFile, ...]:
    blocks = (embed_text(f"{name}.csv", text) for name, text in tables.items())
    return tuple(block for block in blocks if len(block.packed) <= _MAX_TABLE_BYTES)


WarnCallback = Callable[[str], None]
PREFERRED_BYTES, MAX_BYTES = 2_000_000, 5_000_000
_ROW_LIMITS = (1000, 300, 100)
_TEMPLATES = Path(__file__).parent / "templates"
_INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Picture(msgspec.Struct, frozen=True):
    drawing: Chart
    svg: Markup
    data: Markup


class Pictures(msgspec.Struct, frozen=True):
    """Charts of a page by key.

    `library` is the script that makes the charts interactive. `failure` is the reason why charts
    are missing from the report.
    """

    drawn: dict[str, Picture]
    library: Markup | None = None
    failure: str | None = None


def render_html(report: Report, warn: WarnCallback = lambda _: None) -> str:
    """Render a report as an HTML page; the same report always gives the same bytes.

    Raw data that would make the page larger than `PREFERRED_BYTES` is omitted. Rows that would make
    the page larger than `MAX_BYTES` are omitted too, which the page states. If charts cannot be
    drawn, the page has none, and `warn` is called with the reason.
    """
    raw = embed_text("result.json", report.result_json)  # exact bytes, so before control characters are replaced
    return _first_that_fits(_pages(sanitize(msgspec.structs.replace(report, result_json="")), raw, warn))


def _pages(report: Report, raw: EmbeddedFile, warn: WarnCallback) -> Iterator[tuple[int, str]]:
    """Yield versions of the page with decreasing content, each with its size limit in bytes."""
    tables = embed_tables(build_tables(report))
    pictures = _pictures(report)
    if pictures.failure is not None:
        warn(_charts_missing(pictures.failure))
    yield PREFERRED_BYTES, _render(report, pictures, (raw, *tables), raw.sha256)
    yield MAX_BYTES, _render(report, pictures, tables, raw.sha256)
    for row_limit in _ROW_LIMITS:
        short = truncate_report(report, row_limit)
        yield MAX_BYTES, _render(short, _pictures(short), tables, raw.sha256)


def render_plan_html(report: PlanReport, warn: WarnCallback = lambda _: None) -> str:
    """Render a plan as a separate HTML page, with the same size limits as the page of a run."""
    return _first_that_fits(_plan_pages(sanitize(report), warn))


def render_comparison_html(report: ComparisonReport) -> str:
    """Render a comparison as a separate HTML page without scripts."""
    style = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    template = _environment().get_template("comparison_report.html")
    return template.render(report=sanitize(report), style=style, policy=_policy(style))


def _plan_pages(report: PlanReport, warn: WarnCallback) -> Iterator[tuple[int, str]]:
    tables, pictures = embed_tables(plan_tables(report.plan)), _draw(_plan_charts(report.plan))
    if pictures.failure is not None:
        warn(_charts_missing(pictures.failure))
    for short in (report, *(truncate_plan(report, row_limit) for row_limit in _ROW_LIMITS)):
        yield MAX_BYTES, _render(short, pictures, tables, None, template="plan_report.html")


def _first_that_fits(pages: Iterable[tuple[int, str]]) -> str:
    """Return the first page that is within its size limit, or else the last page."""
    text = ""
    for limit, text in pages:
        if len(text.encode()) <= limit:
            break
    return text


def inert_json(value: Any) -> Markup:
    """Encode JSON for an HTML data block, escaping characters that could end the block or begin a
    tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_INERT))


def _render(
    report: Report | PlanReport,
    pictures: Pictures,
    carried: tuple[EmbeddedFile, ...],
    result_sha256: str | None,
    template: str = "report.html",
) -> str:
    style = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    script = Markup((_TEMPLATES / "report.js").read_text("utf-8"))
    scripts = (script,) if pictures.library is None else (pictures.library, script)
    return (
        _environment()
        .get_template(template)
        .render(
            report=report,
            style=style,
            scripts=scripts,
            policy=_policy(style, *scripts),
            pictures=pictures.drawn,
            charts_missing=None if pictures.failure is None else _charts_missing(pictures.failure),
            carried=carried,
            result_sha256=result_sha256,
            refusals=_refusals(report.plan),
            **_first_screen(report, pictures),
        )
    )


_LEADING_CHARTS = ("curve", "clients-time", "token-times", "variants-front", "rates")
"""Charts that may be shown beside the result of a run without a plan; the first chart that was
drawn is used."""


def _first_screen(report: Report | PlanReport, pictures: Pictures) -> dict[str, Any]:
    """Build the template variables for the beginning of the page and for the list of its
    sections."""
    if isinstance(report, PlanReport):
        planned, sections, missing = True, _PLAN_SECTIONS, []
    else:
        planned, sections, missing = decision.leads_with_plan(report), _sections(report, pictures), _missing(report)
    leading = ("demand",) if planned else _LEADING_CHARTS
    lead = next((key for key in leading if key in pictures.drawn), None)
    basis = ("demand", "probability", "curve", "token-times", "token-frontier") if report.plan else ()
    return {
        "planned": planned,
        "result": None if isinstance(report, PlanReport) else decision.decide_run(report),
        "lead": lead,
        "basis_charts": [key for key in basis if key in pictures.drawn and key != lead],
        "has_load": not isinstance(report, PlanReport) and _has_load(report),
        "sections": sections,
        "missing": missing,
    }


_PLAN_SECTIONS = [
    ("basis", "Basis of the decision"),
    ("plan", "Cost and alternatives"),
    ("sources", "Sources"),
    ("appendix", "Appendix"),
]


def _sections(report: Report, pictures: Pictures) -> list[tuple[str, str]]:
    """Return the IDs and titles of the sections of a run's page, in order."""
    has_plan, is_local = report.plan is not None, report.local is not None
    titles = {
        "objectives": ("Objectives", bool(report.objectives)),
        "basis": ("Basis of the decision", has_plan),
        "plan": ("Cost and alternatives", has_plan),
        "load": ("Endpoint under load", not is_local and _has_load(report)),
        "model": ("Model variants" if is_local else "Model only", is_local or report.model is not None),
        "machine": ("Host and processes", bool(report.workers) or bool(_MACHINE_CHARTS & pictures.drawn.keys())),
        "errors": ("Errors", not is_local and bool(report.errors)),
        "comparison": ("Comparison", report.comparison is not None),
        "definitions": ("Other tools' definitions", report.definitions is not None),
        "appendix": ("Appendix", True),
    }
    return [(id, title) for id, (title, is_shown) in titles.items() if is_shown]


_MACHINE_CHARTS = {"busy", "cores", "memory", "power", "clocks", "temperature"}


def _has_load(report: Report) -> bool:
    return bool(report.stages or report.load or report.max_rate or report.cold_start)


def _missing(report: Report) -> list[tuple[str, str]]:
    """Return the titles of sections for which the run has no data, each with the reason. The
    appendix lists them."""
    is_local = report.local is not None
    has_gpu = any(series.metric == "gpu_utilization_percent" for series in report.telemetry)
    machine = "Too few telemetry samples for a chart." if report.telemetry else "No machine telemetry in this run."
    no_search = "No max rate: this run did not search for one, or the search did not finish."
    reasons = [
        ("Results", "No results: no measurement finished.", not report.tiles),
        ("Objectives", "No objectives.", not report.objectives),
        ("Max rate", no_search, not is_local and report.max_rate is None),
        ("Requests", "No request data.", not is_local and not report.load),
        ("Errors", "No errors.", not is_local and bool(report.load) and not report.errors),
        ("Model only", "Not measured: this run measured only the endpoint.", not is_local and report.model is None),
        ("Host and processes", machine, len(report.telemetry) == 0),
        ("GPU", "No GPU telemetry in this run.", not has_gpu),
        ("Cost and alternatives", "No plan. A plan requires a max rate, the hardware it was measured on, and traffic.",
         not is_local and report.plan is None),
    ]  # fmt: skip
    return [(title, reason) for title, reason, is_missing in reasons if is_missing]


def _pictures(report: Report) -> Pictures:
    return _draw(
        (
            rate_curve(report),
            latency_percentiles(report),
            latency_cdf(report),
            rates_over_time(report),
            latency_over_time(report),
            latency_heat_map(report),
            *concurrency_charts(report),
            *token_charts(report),
            *machine_charts(report),
            variant_pareto_front(report),
            *batch_charts(report),
            roofline(report),
            *_plan_charts(report.plan),
        )
    )


def _plan_charts(plan: PlanSection | None) -> tuple[Chart | None, ...]:
    return demand_and_capacity(plan), slo_probability(plan), cost_pareto_front(plan), tornado(plan), peak_day(plan)


def _draw(drawings: Iterable[Chart | None]) -> Pictures:
    charts = [drawing for drawing in drawings if drawing is not None]
    if not charts:
        return Pictures({})
    try:
        pictures = {chart.key: Picture(chart, Markup(render_svg(chart)), inert_json(chart.spec)) for chart in charts}
        return Pictures(pictures, _library())
    except ChartError as error:
        return Pictures({}, failure=str(error))


def _charts_missing(failure: str) -> str:
    return f"The report has no charts: {failure}. See the tables for the numbers."


def _refusals(plan: PlanSection | None) -> list[tuple[str, list[OfferRow]]]:
    """Group the rejected offers by reason, most frequent reason first."""
    by_reason: defaultdict[str, list[OfferRow]] = defaultdict(list)
    for row in plan.rejected_offers if plan else ():
        by_reason[row.rejected or ""].append(row)
    return sorted(by_reason.items(), key=lambda pair: -len(pair[1]))


def _group_by_placement(variants: Sequence[VariantRow]) -> list[tuple[list[str], VariantRow]]:
    """Group variants by where their operators ran. Returns the variant names and one representative
    variant per group."""
    groups: dict[tuple[object, ...], tuple[list[str], VariantRow]] = {}
    for variant in variants:
        groups.setdefault((variant.provider, variant.provider_used, variant.placements), ([], variant))[0].append(
            variant.name
        )
    return list(groups.values())


def _link(name: str) -> str:
    """Return a relative link to a file in the folder of the page; the file name may contain any
    characters."""
    return f"./{quote(name, safe='')}"


def _policy(style: str, *scripts: str) -> str:
    allowed = " ".join(_source_hash(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; style-src {_source_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _library() -> Markup:
    """Return the bundled JavaScript chart library. Raises ChartError.

    Bundling takes a second, so the bundle of each version is cached in the user's cache directory.
    """
    cached = platformdirs.user_cache_path("sizewise", appauthor=False) / f"vega-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Markup(cached.read_bytes().decode())
    bundle = chart_renderer().bundle_library("window.vegaEmbed = vegaEmbed;")
    with contextlib.suppress(OSError):  # without a cache, the next call bundles again
        cached.parent.mkdir(parents=True, exist_ok=True)
        temporary = cached.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(bundle.encode())
        temporary.replace(cached)
    return Markup(bundle)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "number": formatting.format_number,
            "plain": formatting.format_plain,
            "count": formatting.format_count,
            "percent": formatting.format_percent,
            "seconds": formatting.format_duration,
            "money": formatting.format_money,
            "value": formatting.format_value,
            "value_unit": formatting.format_value_unit,
            "interval": formatting.format_interval,
            "quantity": formatting.format_quantity,
            "limit": formatting.format_limit,
            "metric": formatting.metric_name,
            "check_value": formatting.check_value,
            "check_limit": formatting.check_limit,
            "state": formatting.stage_state,
            "display_state": formatting.display_state,
            "rate": formatting.format_inference_rate,
            "p_value": formatting.format_p_value,
            "size": formatting.format_size,
            "chance": formatting.format_probability,
            "alike": _group_by_placement,
            "effect": comparison_text.format_effect,
            "remark": comparison_text.format_remark,
            "link": _link,
        }
    )
    environment.globals.update({"role_of": role_of, "say": plan_sentences, "decide": decision})
    return environment
