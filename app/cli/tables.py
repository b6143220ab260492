"""Format plain-text tables for a terminal."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from app.records.result import Environment
from reports.marks import mark_status

Cell = str | float | int | None


def format_table(header: Sequence[str], rows: Iterable[Sequence[Cell]], status_columns: Container[int] = ()) -> str:
    """Format a table whose columns are as wide as their widest cell. Numbers are right-aligned;
    `None` is shown as n/a.

    Cells in `status_columns` are marked as statuses, so that `print_with_colors` colors them.
    """
    cells = [
        [
            mark_status(format_cell(cell)) if column in status_columns else format_cell(cell)
            for column, cell in enumerate(row)
        ]
        for row in rows
    ]
    numeric_column_flags = [
        bool(cells) and all(_is_number(row[column]) for row in cells) for column in range(len(header))
    ]
    widths = [max([len(title), *(len(row[column]) for row in cells)]) for column, title in enumerate(header)]

    def format_line(texts: Sequence[str]) -> str:
        padded_texts = (
            text.rjust(width) if is_right_aligned else text.ljust(width)
            for text, width, is_right_aligned in zip(texts, widths, numeric_column_flags, strict=True)
        )
        return "  ".join(padded_texts).rstrip()

    return "\n".join(
        [format_line(header), format_line(["-" * width for width in widths]), *(format_line(row) for row in cells)]
    )


def format_cell(cell: Cell) -> str:
    if cell is None:
        return "n/a"
    if isinstance(cell, str):  # strings may come from an untrusted run, so control characters are replaced
        return "".join(character if character.isprintable() else "\ufffd" for character in cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"


def format_environment(environment: Environment) -> list[str]:
    gpus_text = ", ".join(
        f"{gpu.name} ({format_cell(gpu.memory_gib)} GiB)" for gpu in environment.gpus
    )  # the GPU UUID is not shown; the run data contains its hash
    return [
        f"machine     {environment.host}, {environment.os}, Python {environment.python}",
        f"CPU         {format_cell(environment.cpu_model)}, {environment.logical_cores} logical cores, "
        f"{environment.cpu_architecture}, governor {format_cell(environment.cpu_governor)}",
        f"memory      {environment.memory_gib:.1f} GiB",
        f"GPUs        {gpus_text or 'none detected by NVML'}",
        f"inference   ONNX Runtime {format_cell(environment.onnxruntime)}, available providers: "
        f"{', '.join(environment.providers) or 'none'}",
        f"clock       resolution {environment.clock_resolution_ns} ns",
    ]


def _is_number(text: str) -> bool:
    return text == "n/a" or text.replace(",", "").replace(".", "", 1).replace("e+", "").lstrip("-").isdigit()
