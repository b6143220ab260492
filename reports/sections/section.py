"""Define what a section of a report is: the columns of its tables, and what each output shows.

Each other module of this package declares one section with its record. All outputs render every
section from this declaration: text, Markdown, HTML, CSV, OpenMetrics, and the tables of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import msgspec

from reports.formatting import NOT_AVAILABLE, display_state, format_count, format_number, format_value_unit
from reports.marks import dim_undersampled
from reports.quantity import Quantity
from reports.sections.figure import Figure

Output = Literal["text", "markdown", "html", "csv", "openmetrics", "window"]
Part = Literal["result", "charts", "start", "load", "details", "machine", "errors", "model"]
"""Part of the HTML page: beside the result, among the charts of the load, before them, after them, at their end,
or a part of its own. Text and Markdown show the sections beside the result first."""
Tab = Literal["throughput", "latency", "breakdown"]
"""Tab of the window's results."""
RowT = TypeVar("RowT")
MAX_TEXT_ROWS = 8
LATENCY = "{latency}"
"""Placeholder of a label, or of the metric of a column, for the metric of the latencies in the
report: latency, or service time if the scheduled starts are unknown."""


class State(msgspec.Struct, frozen=True):
    """State of a row by its ID, such as `failed`. Outputs show its display text and its color, and
    Markdown emphasizes it if it `is_strong`."""

    id: str
    is_strong: bool = False


class Noted(msgspec.Struct, frozen=True):
    """Value with text that belongs to it. `suffix` follows the value in all outputs. In HTML, `tag`
    follows it, too, and `note` is below it."""

    value: Quantity | State | str
    suffix: str = ""
    tag: str = ""
    note: str = ""


Cell = Quantity | State | Noted | str | int | float | bool | None


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """Column of a table.

    `key` identifies the column, and is the field of the record unless the column has `read`. A table
    of a command shows columns without a label only in CSV, and those without a key only to readers: a
    rounded text such as `≥ 64,000` is the number and a flag in CSV.
    `metric` is the metric of a stage with its aggregate, such as `ttft_ms.p50`, from which the field
    is filled.
    """

    key: str
    label: str = ""
    read: Callable[[RowT], Cell] | None = None
    expand: Callable[[RowT], Mapping[str, Cell]] | None = None
    """Returns cells by header, for columns that the data determines; all rows have the same."""
    metric: str = ""
    unit_label: str = ""
    """Header where cells have no units; empty if it is `label`."""
    csv: str = ""
    """Name in CSV files, with the unit; empty if it is `key`."""
    gauge: tuple[str, str] | None = None
    """Name of the gauge in OpenMetrics, without the prefix of the section, and its help text."""
    percentile: str = ""
    """Label `percentile` of the gauge; empty if the column is no percentile."""
    is_prose: bool = False
    """True if the cells are words, which HTML aligns to the left."""
    is_status: bool = False
    """True if the cells are statuses, which a terminal colors."""

    def read_cell(self, row: RowT) -> Cell:
        cell: Cell = getattr(row, self.key) if self.read is None else self.read(row)
        return cell


Groups = list[list[Column[Any]]]


@dataclass(frozen=True, kw_only=True)
class Table(Generic[RowT]):
    """Rows of a section that are shown as one table.

    `first` is the key of the column that names the rows, if it is not the first column of the
    layout, and `first_label` the header of this column, if the data determines it. `title` names the
    table if the section has several.
    """

    rows: Sequence[RowT]
    first: str = ""
    first_label: str = ""
    title: str = ""
    block_title: str = ""
    """Title in text if the table has a block of its own."""
    caption: str = ""
    """Title in HTML and in the window; empty if it is the caption of the section."""
    legend: str = ""
    """Line below the table in text; empty if it is that of the section."""
    note: str = ""
    """Note below the table in HTML and in the window; empty if it is that of the section."""
    lines: Sequence[str] = ()
    """Lines below the table in text and, without a table, in Markdown."""
    summary: str = ""
    """Summary of the details that contain the table in HTML; empty if it is always shown."""
    is_open: bool = False


def list_whole_table(rows: Sequence[RowT], _: Output) -> list[Table[RowT]]:
    """Return one table with all rows."""
    return [Table(rows=rows)]


def describe_rows(
    describe: Callable[[RowT], str], max_rows: int | None = None
) -> Callable[[Sequence[RowT], Output], list[Table[RowT]]]:
    """Return the tables of a section that text describes by one line per row instead."""

    def list_tables(rows: Sequence[RowT], output: Output) -> list[Table[RowT]]:
        return [Table(rows=(), lines=build_lines(rows, describe, max_rows)) if output == "text" else Table(rows=rows)]

    return list_tables


def build_lines(rows: Sequence[RowT], describe: Callable[[RowT], str], max_rows: int | None) -> list[str]:
    """Return one line per row, and a line about the rows that text omits, if any."""
    return [*map(describe, rows[:max_rows]), *build_more_note(len(rows), max_rows or len(rows))]


def _find_stage_labels(row: Any, stage_labels: Mapping[str, dict[str, str]]) -> dict[str, str]:
    return stage_labels.get(row.stage, {"stage": row.stage})


@dataclass(frozen=True, kw_only=True)
class Section(Generic[RowT]):
    """Section of a report, whose data is the field `name` of the report.

    `layouts` contains the keys of the columns by output, and `all` those of each output for people
    without a layout of its own; an empty layout hides the section. Vertical bars separate groups of
    columns. Text shows the columns of a group in the same table if the section needs several, and a
    header within a group omits what it has in common with the header before it.
    """

    name: str
    title: str
    """Title in text and Markdown."""
    columns: tuple[Column[RowT], ...]
    layouts: Mapping[Output | Literal["all"], str]
    record: type[RowT] | None = None
    """Record of a row; `None` if the data is not a sequence of rows, or limited in another way."""
    rows_name: str = ""
    """Name of the rows in the note about those that a page omits."""
    needs_metrics: frozenset[str] = frozenset()
    """Metrics that give a stage a row, if it has at least one; empty if the rows are filled by code
    of their own."""
    list_tables: Callable[[Any, Output], list[Table[RowT]]] = list_whole_table
    markdown_title: str = ""
    """Title in Markdown; empty if it is `title`."""
    caption: str = ""
    """Title of the tables in HTML and in the window; empty if it is `title`."""
    legend: str = ""
    """Line below the table in text."""
    note: str = ""
    """Note below the table in HTML and in the window."""
    omits_empty: frozenset[Output] = frozenset(("text",))
    """Outputs that omit columns without any value. Text omits groups of columns."""
    intervals: Mapping[Output, Literal["inline", "stacked"]] = field(default_factory=dict)
    """Outputs that show confidence intervals: after the value, or below it."""
    has_units: bool = True
    """False if cells in text have no units, except for shares."""
    max_text_rows: int = MAX_TEXT_ROWS
    list_warnings: Callable[[RowT], Sequence[str]] = lambda _: ()
    """Lists the warnings about a row."""
    figure_key: str = ""
    """Key of the figure on the page; empty if the section has none."""
    build_figure: Callable[[Any], Figure | None] = lambda _: None
    """Builds the figure of a report; `None` without data."""
    part: Part = "load"
    figure_part: Part | None = None
    """Part of the page with the figure; `None` if it is `part`."""
    tab: Tab | None = "throughput"
    """`None` if a tab of its own shows the section."""
    style: str = ""
    """CSS class of the table in HTML."""
    gauge_prefix: str = "stage"
    """Prefix of the gauges in OpenMetrics, which states what one sample is about."""
    build_gauge_labels: Callable[[RowT, Mapping[str, dict[str, str]]], dict[str, str]] = _find_stage_labels
    """Builds the labels of a row in OpenMetrics from those of all stages, by the name of the stage."""

    def __post_init__(self) -> None:
        keys = {key for layout in self.layouts.values() for key in layout.replace("|", " ").split()}
        if unknown_keys := keys - {column.key for column in self.columns}:
            raise ValueError(f"The layouts of the section {self.name} name unknown columns: {sorted(unknown_keys)}.")

    def build_tables(self, report: Any, output: Output) -> list[tuple[Table[RowT], Groups]]:
        """Return the tables of a report that an output shows, each with the columns that it shows."""
        data = getattr(report, self.name)
        tables = self.list_tables(data, output) if data else []
        shown_tables = [(table, self.list_groups(table, output)) for table in tables]
        return [(table, groups) for table, groups in shown_tables if groups or (table.lines and not table.rows)]

    def format_caption(self, table: Table[RowT], latency_label: str) -> str:
        """Return the title of a table in HTML and in the window."""
        return (table.caption or self.caption or self.title).replace(LATENCY, latency_label)

    def list_groups(self, table: Table[RowT], output: Output) -> Groups:
        """Return the columns of a table in groups, without those that the output omits. The first
        group is the column that names the rows. There are no groups if the output does not show the
        section."""
        columns = {column.key: column for column in self.columns}
        fallback = "" if output in ("csv", "openmetrics") else self.layouts.get("all", "")
        layout = self.layouts.get(output, fallback)
        if not layout:
            return []
        (first,), *groups = ([columns[key] for key in keys.split()] for keys in layout.split("|"))
        groups = [group for columns in groups for group in _expand(columns, table.rows)]
        first = columns[table.first] if table.first else first
        first = replace(first, label=table.first_label) if table.first_label else first
        if output == "text":
            groups = [group for group in groups if self._has_values(group, table, output)]
        else:
            groups = [[column for column in group if self._has_values([column], table, output)] for group in groups]
        return [[first], *filter(None, groups)]

    def _has_values(self, columns: Sequence[Column[RowT]], table: Table[RowT], output: Output) -> bool:
        return output not in self.omits_empty or any(
            _has_value(column.read_cell(row)) for column in columns for row in table.rows
        )


def _expand(group: list[Column[RowT]], rows: Sequence[RowT]) -> Iterator[list[Column[RowT]]]:
    """Yield a group of columns. A column that the data determines is a group of its own."""
    for column in group:
        if (read := column.expand) is None:
            continue
        for name in read(rows[0]) if rows else ():
            yield [Column(name, name, partial(_read_expanded, read, name))]
    if plain_columns := [column for column in group if column.expand is None]:
        yield plain_columns


def _read_expanded(read: Callable[[RowT], Mapping[str, Cell]], name: str, row: RowT) -> Cell:
    return read(row).get(name)


def _has_value(cell: Cell) -> bool:
    if isinstance(cell, Quantity):
        return cell.value is not None or cell.is_undersampled
    return cell not in (None, "")


def format_cell(cell: Cell, format_quantity: Callable[[Quantity], str], escape: Callable[[str], str] = str) -> str:
    """Format a cell as text. `escape` escapes strings from elsewhere for the output."""
    match cell:
        case Quantity():
            return format_quantity(cell)
        case Noted():
            return " ".join(filter(None, (format_cell(cell.value, format_quantity, escape), escape(cell.suffix))))
        case State():
            return display_state(cell.id)
        case None:
            return NOT_AVAILABLE
        case str():
            return escape(cell)
        case bool():
            return "yes" if cell else "no"
        case int():
            return format_count(cell)
        case float():
            return format_number(cell)


def build_more_note(count: int, max_rows: int) -> list[str]:
    """Return the line about the rows that text omits, if any."""
    return [f"… and {count - max_rows} more in the report"] if count > max_rows else []


def format_dimmed(quantity: Quantity) -> str:
    """Format a value with its unit, marked as dimmed if it is a percentile of too few samples."""
    return dim_undersampled(quantity, format_value_unit(quantity))


def build_headers(
    group: Sequence[Column[Any]], latency_label: str, *, has_units: bool = True, is_short: bool = True
) -> list[str]:
    """Return the headers of a group of columns. If `is_short`, a header omits what it has in common
    with the header before it: `p50 TTFT`, `p95`."""
    headers: list[str] = []
    previous_name = ""
    for column in group:
        label = column.label if has_units else column.unit_label or column.label
        label = label.replace(LATENCY, latency_label)
        aggregate, _, name = label.partition(" ")
        headers.append(aggregate if is_short and name and name == previous_name else label)
        previous_name = name
    return headers


def list_aggregates(
    key: str, name: str, metric: str, aggregates: Sequence[str], *, help_text: str = ""
) -> list[Column[Any]]:
    """Return a column for each aggregate of a metric in ms, such as `ttft_p50` with the label `p50
    TTFT`. With a help text, they are gauges in OpenMetrics, too."""
    return [
        Column(
            f"{key}_{aggregate}",
            f"{aggregate} {name}",
            metric=f"{metric}.{aggregate}",
            csv=f"{key}_{aggregate}_ms",
            gauge=(f"{key}_milliseconds", f"{help_text} by percentile") if help_text else None,
            percentile=aggregate,
        )
        for aggregate in aggregates
    ]
