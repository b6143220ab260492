"""One offline HTML file: verdict first, charts as static pictures that a script makes interactive.

Files that travel in the page, compressed, for its reader to take out again.
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

from reports import comparison_text, formatting, plan_words
from reports.charts.batches import batch_charts
from reports.charts.concurrency import concurrency_charts
from reports.charts.curve import rate_curve
from reports.charts.ecdf import share_answered
from reports.charts.heat import answers_over_time
from reports.charts.machine import machine_charts
from reports.charts.over_time import latency_over_time, rates_over_time
from reports.charts.pareto import cost_front, role_of
from reports.charts.peak_day import peak_day
from reports.charts.picture import Drawing, static_svg
from reports.charts.renderer import ChartError, chart_renderer
from reports.charts.roofline import roofline
from reports.charts.spectrum import latency_spectrum
from reports.charts.tornado import tornado
from reports.charts.variants import variant_front
from reports.comparison_section import ComparisonReport
from reports.formatting import printable
from reports.local_model import VariantRow
from reports.model import OfferRow, PlanReport, PlanSection, Report
from reports.shortening import shortened, shortened_plan
from reports.tables import plan_tables, tables_of

_MOST_OF_A_TABLE = 500_000
"""Bytes that a table may take in the page; a larger one is only beside it."""


class Block(msgspec.Struct, frozen=True):
    name: str
    packed: Markup
    """zlib, then base64."""
    sha256: str
    """Of what was packed."""


def packed(name: str, text: str) -> Block:
    content = text.encode()
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return Block(name, Markup(data), hashlib.sha256(content).hexdigest())


def packed_tables(tables: Mapping[str, str]) -> tuple[Block, ...]:
    blocks = (packed(f"{name}.csv", text) for name, text in tables.items())
    return tuple(block for block in blocks if len(block.packed) <= _MOST_OF_A_TABLE)


Warn = Callable[[str], None]
USUAL_BYTES, MAX_BYTES = 2_000_000, 5_000_000
_ROWS_THAT_FIT = (1000, 300, 100)
_TEMPLATES = Path(__file__).parent / "templates"
_INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Picture(msgspec.Struct, frozen=True):
    drawing: Drawing
    svg: Markup
    data: Markup


class Pictures(msgspec.Struct, frozen=True):
    """The charts of one page by their keys; `library` is the script that makes them interactive. `failure` says why
    there are none although the report has charts."""

    drawn: dict[str, Picture]
    library: Markup | None = None
    failure: str | None = None


def render_html(report: Report, warn: Warn = lambda _: None) -> str:
    """The same report makes the same bytes. Raw data that would make the file larger than USUAL_BYTES stays out; rows
    that would make it larger than MAX_BYTES too, and then the page says so. Where charts cannot be drawn, the page has
    none, and `warn` is called with the reason."""
    raw = packed("result.json", report.result_json)  # byte for byte, and so before it is made printable
    return _first_that_fits(_pages(printable(msgspec.structs.replace(report, result_json="")), raw, warn))


def _pages(report: Report, raw: Block, warn: Warn) -> Iterator[tuple[int, str]]:
    """Ever less in one, each with how large it may be."""
    tables = packed_tables(tables_of(report))
    pictures = _pictures(report)
    if pictures.failure is not None:
        warn(_charts_missing(pictures.failure))
    yield USUAL_BYTES, _render(report, pictures, (raw, *tables), raw.sha256)
    yield MAX_BYTES, _render(report, pictures, tables, raw.sha256)
    for most in _ROWS_THAT_FIT:
        short = shortened(report, most)
        yield MAX_BYTES, _render(short, _pictures(short), tables, raw.sha256)


def render_plan_html(report: PlanReport, warn: Warn = lambda _: None) -> str:
    """A plan as a page of its own, by the same rules."""
    return _first_that_fits(_plan_pages(printable(report), warn))


def render_comparison_html(report: ComparisonReport) -> str:
    """A comparison as a page of its own, without any script."""
    style = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    template = _environment().get_template("comparison_report.html")
    return template.render(report=printable(report), style=style, policy=_policy(style))


def _plan_pages(report: PlanReport, warn: Warn) -> Iterator[tuple[int, str]]:
    tables, pictures = packed_tables(plan_tables(report.plan)), _drawn(_plan_drawings(report.plan))
    if pictures.failure is not None:
        warn(_charts_missing(pictures.failure))
    for short in (report, *(shortened_plan(report, most) for most in _ROWS_THAT_FIT)):
        yield MAX_BYTES, _render(short, pictures, tables, None, template="plan_report.html")


def _first_that_fits(pages: Iterable[tuple[int, str]]) -> str:
    """Else the last."""
    text = ""
    for limit, text in pages:
        if len(text.encode()) <= limit:
            break
    return text


def inert_json(value: Any) -> Markup:
    """JSON for a data block: nothing in it can end the block or begin a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_INERT))


def _render(
    report: Report | PlanReport,
    pictures: Pictures,
    carried: tuple[Block, ...],
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
        )
    )


def _pictures(report: Report) -> Pictures:
    return _drawn(
        (
            rate_curve(report),
            latency_spectrum(report),
            share_answered(report),
            rates_over_time(report),
            latency_over_time(report),
            answers_over_time(report),
            *concurrency_charts(report),
            *machine_charts(report),
            variant_front(report),
            *batch_charts(report),
            roofline(report),
            *_plan_drawings(report.plan),
        )
    )


def _plan_drawings(plan: PlanSection | None) -> tuple[Drawing | None, ...]:
    return cost_front(plan), tornado(plan), peak_day(plan)


def _drawn(drawings: Iterable[Drawing | None]) -> Pictures:
    wanted = [drawing for drawing in drawings if drawing is not None]
    if not wanted:
        return Pictures({})
    try:
        drawn = {one.key: Picture(one, Markup(static_svg(one)), inert_json(one.spec)) for one in wanted}
        return Pictures(drawn, _library())
    except ChartError as error:
        return Pictures({}, failure=str(error))


def _charts_missing(failure: str) -> str:
    return f"The report has no charts: {failure}. Its tables hold their numbers."


def _refusals(plan: PlanSection | None) -> list[tuple[str, list[OfferRow]]]:
    """The refused offers by their reason, the commonest first."""
    by_reason: defaultdict[str, list[OfferRow]] = defaultdict(list)
    for row in plan.refused if plan else ():
        by_reason[row.refused or ""].append(row)
    return sorted(by_reason.items(), key=lambda pair: -len(pair[1]))


def _alike(variants: Sequence[VariantRow]) -> list[tuple[list[str], VariantRow]]:
    """Variants that ran in the same places, by their names; one of them stands for all."""
    found: dict[tuple[object, ...], tuple[list[str], VariantRow]] = {}
    for one in variants:
        found.setdefault((one.provider, one.provider_used, one.placements), ([], one))[0].append(one.name)
    return list(found.values())


def _link(name: str) -> str:
    """To a file in the page's own folder, whatever its name."""
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
    """Bundling takes a second, so that the bundle of each version is kept in the user's cache. Raises ChartError."""
    kept = platformdirs.user_cache_path("sizewise", appauthor=False) / f"vega-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Markup(kept.read_bytes().decode())
    bundle = chart_renderer().library("window.vegaEmbed = vegaEmbed;")
    with contextlib.suppress(OSError):  # without a cache it is made again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_bytes(bundle.encode())
        written.replace(kept)
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
            "number": formatting.number,
            "plain": formatting.plain,
            "count": formatting.count,
            "percent": formatting.percent,
            "seconds": formatting.seconds,
            "money": formatting.money,
            "value": formatting.value,
            "value_unit": formatting.value_unit,
            "unit": formatting.shown_unit,
            "interval": formatting.interval,
            "quantity": formatting.quantity,
            "limit": formatting.limit,
            "metric": formatting.metric,
            "check_value": formatting.check_value,
            "check_limit": formatting.check_limit,
            "state": formatting.stage_state,
            "p_value": formatting.p_value,
            "size": formatting.size,
            "chance": formatting.chance,
            "alike": _alike,
            "effect": comparison_text.effect,
            "remark": comparison_text.remark,
            "link": _link,
        }
    )
    environment.globals.update({"role_of": role_of, "say": plan_words})
    return environment
