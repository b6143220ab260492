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
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import platformdirs
from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from reports import decision, formatting, plan_sentences
from reports.charts.capacity import build_demand_chart
from reports.charts.curve import build_rate_chart
from reports.charts.figures import build_chart
from reports.charts.pareto import build_cost_pareto_chart, get_offer_role
from reports.charts.peak_day import build_peak_day_chart
from reports.charts.picture import Chart, render_svg
from reports.charts.probability import build_probability_chart
from reports.charts.renderer import ChartError, get_chart_renderer
from reports.charts.roofline import build_roofline_chart
from reports.charts.tokens import build_token_frontier_chart
from reports.charts.tornado import build_tornado_chart
from reports.charts.variants import build_variant_pareto_chart
from reports.formatting import sanitize
from reports.generation_series import list_generation_figures
from reports.local_model import VariantRow
from reports.model import OfferRow, PlanReport, PlanSection, Quantity, Report
from reports.sections.batch_size import build_batch_figures
from reports.sections.comparison import CHANGES, DIFFERENCES, ComparisonReport
from reports.sections.concurrency import build_concurrency_figures
from reports.sections.evidence import EVIDENCE
from reports.sections.figure import Figure
from reports.sections.section import Groups, Noted, Part, Section, State, Table, build_headers, format_cell
from reports.sections.shape_plan import SHAPE_PLAN
from reports.sections.telemetry import build_telemetry_figures
from reports.sections.timelines import build_timeline_figures
from reports.tables import build_plan_tables, build_tables
from reports.truncation import truncate_plan, truncate_report

_MAX_TABLE_BYTES = 500_000
"""Maximum size in bytes of a table that is embedded in the page. A larger table is written only as
a separate file."""


class EmbeddedFile(msgspec.Struct, frozen=True):
    name: str
    encoded_content: Markup
    """Content of the embedded file, compressed with zlib and base64-encoded."""
    sha256: str
    """SHA-256 of the uncompressed content of the embedded file."""


def embed_text(name: str, text: str) -> EmbeddedFile:
    content = text.encode()
    encoded_content = base64.b64encode(zlib.compress(content, 9)).decode()
    return EmbeddedFile(name, Markup(encoded_content), hashlib.sha256(content).hexdigest())


def embed_tables(tables: Mapping[str, str]) -> tuple[EmbeddedFile, ...]:
    embedded_files = (embed_text(f"{name}.csv", text) for name, text in tables.items())
    return tuple(
        embedded_file for embedded_file in embedded_files if len(embedded_file.encoded_content) <= _MAX_TABLE_BYTES
    )


WarnCallback = Callable[[str], None]
PREFERRED_BYTES, MAX_BYTES = 2_000_000, 5_000_000
_ROW_LIMITS = (1000, 300, 100)
_TEMPLATES = Path(__file__).parent / "templates"
_COMMAND = re.compile("`(sizewise [^`\n]+)`")
_HTML_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class Picture(msgspec.Struct, frozen=True):
    chart: Chart
    svg: Markup
    data: Markup


class Pictures(msgspec.Struct, frozen=True):
    """Charts of a page by key.

    `library` is the script that makes the charts interactive. `failure` is the reason why charts
    are missing from the page; `None` if all were drawn.
    """

    by_key: dict[str, Picture]
    library: Markup | None = None
    failure: str | None = None


def render_html(report: Report, warn: WarnCallback = lambda _: None) -> str:
    """Render a report as an HTML page. The same report always gives the same bytes.

    Raw data that would make the page larger than `PREFERRED_BYTES` is omitted. Rows that would make
    the page larger than `MAX_BYTES` are omitted too, and the page states this. If charts cannot be
    drawn, the page has no charts, and `warn` is called with the reason.
    """
    # The exact bytes are embedded, so before control characters are replaced.
    embedded_result = embed_text("result.json", report.result_json)
    return _select_first_fitting_page(
        _build_pages(sanitize(msgspec.structs.replace(report, result_json="")), embedded_result, warn)
    )


def _build_pages(report: Report, embedded_result: EmbeddedFile, warn: WarnCallback) -> Iterator[tuple[int, str]]:
    """Yield versions of the page with decreasing content, each with its size limit in bytes."""
    tables = embed_tables(build_tables(report))
    pictures = _render_pictures(report)
    if pictures.failure is not None:
        warn(_format_charts_missing(pictures.failure))
    yield PREFERRED_BYTES, _render_page(report, pictures, (embedded_result, *tables), embedded_result.sha256)
    yield MAX_BYTES, _render_page(report, pictures, tables, embedded_result.sha256)
    for row_limit in _ROW_LIMITS:
        truncated_report = truncate_report(report, row_limit)
        yield (
            MAX_BYTES,
            _render_page(truncated_report, _render_pictures(truncated_report), tables, embedded_result.sha256),
        )


def render_plan_html(report: PlanReport, warn: WarnCallback = lambda _: None) -> str:
    """Render a plan as a separate HTML page, with the same size limits as the page of a run."""
    return _select_first_fitting_page(_build_plan_pages(sanitize(report), warn))


def render_comparison_html(report: ComparisonReport, _: WarnCallback = lambda _: None) -> str:
    """Render a comparison as a separate HTML page without scripts."""
    style = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    template = _build_environment().get_template("comparison_report.html")
    return template.render(report=sanitize(report), style=style, policy=_build_content_policy(style))


def _build_plan_pages(report: PlanReport, warn: WarnCallback) -> Iterator[tuple[int, str]]:
    tables, pictures = embed_tables(build_plan_tables(report.plan)), _render_charts(_build_plan_charts(report.plan))
    if pictures.failure is not None:
        warn(_format_charts_missing(pictures.failure))
    for truncated_report in (report, *(truncate_plan(report, row_limit) for row_limit in _ROW_LIMITS)):
        yield MAX_BYTES, _render_page(truncated_report, pictures, tables, None, template="plan_report.html")


def _select_first_fitting_page(pages: Iterable[tuple[int, str]]) -> str:
    """Return the first page that is within its size limit; if none is, the last page."""
    text = ""
    for size_limit, text in pages:
        if len(text.encode()) <= size_limit:
            break
    return text


def encode_inert_json(value: Any) -> Markup:
    """Encode JSON for an HTML data block. Characters that could end the block or begin a tag are
    escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_HTML_ESCAPES))


def _render_page(
    report: Report | PlanReport,
    pictures: Pictures,
    embedded_files: tuple[EmbeddedFile, ...],
    result_sha256: str | None,
    template: str = "report.html",
) -> str:
    style = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    script = Markup((_TEMPLATES / "report.js").read_text("utf-8"))
    scripts = (script,) if pictures.library is None else (pictures.library, script)
    return (
        _build_environment()
        .get_template(template)
        .render(
            report=report,
            style=style,
            scripts=scripts,
            policy=_build_content_policy(style, *scripts),
            pictures=pictures.by_key,
            charts_missing=None if pictures.failure is None else _format_charts_missing(pictures.failure),
            embedded_files=embedded_files,
            result_sha256=result_sha256,
            exclusions=_group_rejected_offers(report.plan),
            **_build_first_screen(report, pictures),
        )
    )


_LEADING_CHARTS = ("curve", "clients-time", "token-times", "test-decode", "variants-front", "rates")
"""Keys of the charts that may be shown beside the result of a run without a plan. The first chart
that was drawn is used."""


def _build_first_screen(report: Report | PlanReport, pictures: Pictures) -> dict[str, Any]:
    """Build the template variables for the first screen of the page and for its table of
    contents."""
    if isinstance(report, PlanReport):
        is_plan_first, sections, missing_sections = True, _PLAN_SECTIONS, []
    else:
        is_plan_first, sections, missing_sections = (
            decision.leads_with_plan(report),
            _list_sections(report, pictures),
            _list_missing_sections(report),
        )
    candidate_keys = ("demand",) if is_plan_first else _LEADING_CHARTS
    lead_key = next((key for key in candidate_keys if key in pictures.by_key), None)
    basis_keys = ("demand", "probability", "curve", "token-times", "token-frontier") if report.plan else ()
    return {
        "planned": is_plan_first,
        "result": None if isinstance(report, PlanReport) else decision.build_run_decision(report),
        "lead": lead_key,
        "basis_charts": [key for key in basis_keys if key in pictures.by_key and key != lead_key],
        "has_load": not isinstance(report, PlanReport) and _has_load(report),
        "sections": sections,
        "missing": missing_sections,
    }


_PLAN_SECTIONS = [
    ("basis", "Basis of the decision"),
    ("plan", "Cost and alternatives"),
    ("sources", "Sources"),
    ("appendix", "Appendix"),
]


def _list_sections(report: Report, pictures: Pictures) -> list[tuple[str, str]]:
    """Return the IDs and titles of the sections of a run's page, in the order of the page."""
    has_plan, is_local = report.plan is not None, report.local is not None
    titles = {
        "objectives": ("Objectives", bool(report.objectives)),
        "basis": ("Basis of the decision", has_plan),
        "plan": ("Cost and alternatives", has_plan),
        "shape-plan": ("Larger model, from its shape", report.shape_plan is not None),
        "load": ("Endpoint under load", not is_local and _has_load(report)),
        "model": ("Model variants" if is_local else "Model only", is_local or report.model is not None),
        "machine": ("Host and processes", bool(report.workers) or bool(_MACHINE_CHARTS & pictures.by_key.keys())),
        "errors": ("Errors", not is_local and bool(report.errors)),
        "comparison": ("Comparison", report.comparison is not None),
        "definitions": ("Other tools' definitions", report.definitions is not None),
        "appendix": ("Appendix", True),
    }
    return [(section_id, title) for section_id, (title, is_shown) in titles.items() if is_shown]


_MACHINE_CHARTS = {
    "busy", "cores", "memory", "power", "clocks", "temperature", "server-requests", "server-cache",
}  # fmt: skip


def _has_load(report: Report) -> bool:
    return bool(report.stages or report.load or report.max_rate or report.cold_start)


def _list_missing_sections(report: Report) -> list[tuple[str, str]]:
    """Return the titles of the sections for which the run has no data, each with the reason, for
    the appendix."""
    is_local = report.local is not None
    has_gpu = any(series.metric == "gpu_utilization_percent" for series in report.telemetry)
    machine_reason = (
        "There are too few telemetry samples for a chart."
        if report.telemetry
        else "No machine telemetry was recorded in this run."
    )
    max_rate_reason = "There is no max rate, because this run did not search for one or the search did not finish."
    section_reasons = [
        ("Results", "There are no results, because no measurement finished.", not report.tiles),
        ("Objectives", "No objectives are set.", not report.objectives),
        ("Max rate", max_rate_reason, not is_local and report.max_rate is None),
        ("Requests", "No request data was recorded.", not is_local and not report.load),
        ("Errors", "No errors occurred.", not is_local and bool(report.load) and not report.errors),
        ("Model only", "This run measured only the endpoint.", not is_local and report.model is None),
        ("Host and processes", machine_reason, len(report.telemetry) == 0),
        ("GPU", "No GPU telemetry was recorded in this run.", not has_gpu),
        ("Cost and alternatives",
         "There is no plan. A plan requires a max rate, the hardware it was measured on, and traffic.",
         not is_local and report.plan is None),
    ]  # fmt: skip
    return [(title, reason) for title, reason, is_missing in section_reasons if is_missing]


def _render_pictures(report: Report) -> Pictures:
    return _render_charts(
        (
            build_rate_chart(report),
            *(build_chart(key, figure) for key, figure in build_figures(report).items() if figure is not None),
            build_token_frontier_chart(report),
            build_variant_pareto_chart(report),
            build_roofline_chart(report),
            *_build_plan_charts(report.plan),
        )
    )


def build_figures(report: Report) -> dict[str, Figure | None]:
    """Build the figures of a report by key; `None` without data. The window can draw each of them, too."""
    return (
        {section.figure_key: section.build_figure(report) for section in report.sections}
        | build_timeline_figures(report)
        | build_concurrency_figures(report)
        | build_telemetry_figures(report)
        | build_batch_figures(report)
        | list_generation_figures(report.local)
    )


def _build_plan_charts(plan: PlanSection | None) -> tuple[Chart | None, ...]:
    return (
        build_demand_chart(plan),
        build_probability_chart(plan),
        build_cost_pareto_chart(plan),
        build_tornado_chart(plan),
        build_peak_day_chart(plan),
    )


def _render_charts(optional_charts: Iterable[Chart | None]) -> Pictures:
    charts = [chart for chart in optional_charts if chart is not None]
    if not charts:
        return Pictures({})
    try:
        pictures_by_key = {
            chart.key: Picture(chart, Markup(render_svg(chart)), encode_inert_json(chart.spec)) for chart in charts
        }
        return Pictures(pictures_by_key, load_library())
    except ChartError as error:
        return Pictures({}, failure=str(error))


def _format_charts_missing(failure: str) -> str:
    return f"The report has no charts: {failure}. See the tables for the numbers."


def _group_rejected_offers(plan: PlanSection | None) -> list[tuple[str, list[OfferRow]]]:
    """Group the rejected offers by reason, with the most frequent reason first."""
    offers_by_reason: defaultdict[str, list[OfferRow]] = defaultdict(list)
    for row in plan.rejected_offers if plan else ():
        offers_by_reason[row.rejected or ""].append(row)
    return sorted(offers_by_reason.items(), key=lambda pair: -len(pair[1]))


def _group_by_placement(variants: Sequence[VariantRow]) -> list[tuple[list[str], VariantRow]]:
    """Group variants by the execution providers that ran their operators. Return the variant names
    and one representative variant for each group."""
    groups: dict[tuple[object, ...], tuple[list[str], VariantRow]] = {}
    for variant in variants:
        groups.setdefault((variant.provider, variant.provider_used, variant.placements), ([], variant))[0].append(
            variant.name
        )
    return list(groups.values())


def _build_link(name: str) -> str:
    """Return a relative link to a file in the folder of the page. The file name may contain any
    characters."""
    return f"./{quote(name, safe='')}"


def _mark_commands(text: str) -> Markup:
    """Return the text as HTML. Commands of this program, which stand between backticks, are code; other backticks may
    be part of a name."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))


def _build_content_policy(style: str, *scripts: str) -> str:
    script_sources_text = " ".join(_compute_source_hash(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; style-src {_compute_source_hash(style)}; script-src {script_sources_text}; "
        "base-uri 'none'; form-action 'none'"
    )


def _compute_source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


LIBRARY_SHA256 = {"1.9.0.post1": "373b1f84072b31010f15ceb787be6b415c53936411aae267c8c2b2b6ccde46e7"}
"""Digest of the bundled chart library by version of vl-convert. The library of any other version is
bundled again in each process."""


@cache
def load_library() -> Markup:
    """Return the bundled JavaScript chart library. Raises ChartError if the library cannot be
    bundled.

    Bundling takes a second, so the bundle is cached: in SIZEWISE_HOME if set, where a bundle in the
    user's cache folder is used, too. A cached file is used only if it has the known digest of its
    version, because reports execute it. A bundle with another digest, as another version or processor
    may produce, is used but not cached.
    """
    library_version = version("vl-convert-python")
    file_name, known_digest = f"vega-{library_version}.js", LIBRARY_SHA256.get(library_version)
    cache_path = _find_cache_folder() / file_name
    for path in () if known_digest is None else (cache_path, _get_user_cache_folder() / file_name):
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == known_digest:
                return Markup(content.decode())
    library = get_chart_renderer().bundle_library("window.vegaEmbed = vegaEmbed;")
    if hashlib.sha256(library.encode()).hexdigest() != known_digest:
        return Markup(library)
    with contextlib.suppress(OSError):  # without a cache, the next call bundles again
        cache_path.parent.mkdir(parents=True, exist_ok=True)
        temporary_path = cache_path.with_suffix(f".{os.getpid()}")
        temporary_path.write_bytes(library.encode())
        temporary_path.replace(cache_path)
    return Markup(library)


def _find_cache_folder() -> Path:
    """Return the folder of the cached chart library: `cache` in SIZEWISE_HOME if set, otherwise the
    user's cache folder. The folder may be deleted at any time."""
    home = os.environ.get("SIZEWISE_HOME")
    return Path(home) / "cache" if home else _get_user_cache_folder()


def _get_user_cache_folder() -> Path:
    return platformdirs.user_cache_path("sizewise", appauthor=False)


class _TemplateCache(FileSystemBytecodeCache):
    """Compiled templates beside the chart library, in a folder in which only the user can write. A file
    that is damaged, or belongs to another text of its template or to another Python, is compiled
    again. Without a usable directory, each process compiles the templates."""

    def __init__(self) -> None:
        super().__init__(str(_find_cache_folder() / "templates"))

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            Path(self.directory).mkdir(parents=True, exist_ok=True, mode=0o700)
            super().dump_bytecode(bucket)


@cache
def _build_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        bytecode_cache=_TemplateCache(),
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
            "metric": formatting.format_metric_label,
            "format_check_value": formatting.format_check_value,
            "format_check_limit": formatting.format_check_limit,
            "display_state": formatting.display_state,
            "p_value": formatting.format_p_value,
            "size": formatting.format_size,
            "probability": formatting.format_probability,
            "group_by_placement": _group_by_placement,
            "link": _build_link,
            "commands": _mark_commands,
            "cell_text": partial(format_cell, format_quantity=formatting.format_value_unit),
        }
    )
    environment.globals.update(
        {
            "get_offer_role": get_offer_role,
            "plan_sentences": plan_sentences,
            "decide": decision,
            "list_section_tables": _list_section_tables,
            "build_rows_table": _build_rows_table,
        }
    )
    environment.tests["quantity"] = lambda value: isinstance(value, Quantity)
    environment.tests["noted"] = lambda value: isinstance(value, Noted)
    environment.tests["state"] = lambda value: isinstance(value, State)
    return environment


class PageTable(msgspec.Struct, frozen=True):
    """Table of a section on the page, with the cells and the warnings of each row."""

    caption: str
    headers: list[str]
    prose_headers: list[str]
    rows: list[tuple[list[Any], Sequence[str]]]
    interval: str
    style: str
    note: str
    summary: str
    is_open: bool


def _list_section_tables(report: Report, part: Part) -> list[tuple[str, bool, list[PageTable]]]:
    """Return the tables of the sections in a part of the page, in groups that are shown together: the
    summary of the details that contain them, or an empty string, and whether these are open."""
    tables = [
        _build_section_table(section, table, groups, formatting.format_metric_label(report.times))
        for section in report.sections
        if section.part == part
        for table, groups in section.build_tables(report, "html")
    ]
    return [
        (summary, is_open, [*members])
        for (summary, is_open), members in groupby(tables, key=lambda table: (table.summary, table.is_open))
    ]


_ROWS_SECTIONS: dict[str, Section[Any]] = {
    section.name: section for section in (CHANGES, DIFFERENCES, EVIDENCE, SHAPE_PLAN)
}


def _build_rows_table(name: str, rows: Sequence[Any], caption: str = "") -> PageTable:
    """Build the table of some rows of a section that is not a field of the report."""
    section = _ROWS_SECTIONS[name]
    table = Table(rows=rows, caption=caption)
    return _build_section_table(section, table, section.list_groups(table, "html"), "")


def _build_section_table(section: Section[Any], table: Table[Any], groups: Groups, latency_label: str) -> PageTable:
    columns = [*chain(*groups)]
    headers = [header for group in groups for header in build_headers(group, latency_label)]
    return PageTable(
        caption=section.format_caption(table, latency_label),
        headers=headers,
        prose_headers=[header for header, column in zip(headers, columns, strict=True) if column.is_prose],
        rows=[([column.read_cell(row) for column in columns], section.list_warnings(row)) for row in table.rows],
        interval=section.intervals.get("html", ""),
        style=section.style,
        note=table.note or section.note,
        summary=table.summary,
        is_open=table.is_open,
    )
