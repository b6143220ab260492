"""Read the traffic of a typical day from a CSV file with one row per hour."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.errors import ProfileError
from app.profiles.document import MAX_BYTES, read_truncated

_HOUR_COLUMN = "hour"
_SECONDS_BY_COLUMN: Mapping[str, float] = {
    "rate_per_s": 1.0, "requests_per_s": 1.0, "rate": 1.0, "rps": 1.0, "requests_per_hour": 3600.0, "requests": 3600.0,
}  # fmt: skip
"""Columns of the traffic in an hour, with the seconds to which their requests refer."""
_HOURS_PER_DAY = 24
_MAX_HEADER_CHARACTERS = 1000
_HOUR = re.compile(r"(\d{1,2})(?::00(?::00)?)?", re.ASCII)


def is_hourly_traffic(path: Path) -> bool:
    """Return whether a file is a CSV table whose header has the column `hour`, unlike a trace, which
    has one row per request."""
    if path.suffix.casefold() != ".csv" or not path.is_file():
        return False
    header = read_truncated(path)[:_MAX_HEADER_CHARACTERS].decode("utf-8-sig", "replace").partition("\n")[0]
    return _HOUR_COLUMN in _normalize(header.split(","))


def read_hourly_traffic(path: Path) -> dict[str, object]:
    """Return the peak and the shape of a day as keys of `traffic`. Raises ProfileError with the line
    of the error unless the file has the traffic of each hour from 0 to 23 once."""
    content = read_truncated(path)
    if len(content) > MAX_BYTES:
        raise ProfileError("the file is larger than 1 MiB", path=str(path))
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig", "replace"), newline=""), strict=True)
    try:
        columns = _normalize(next(reader))
        rate_columns = [column for column in columns if column in _SECONDS_BY_COLUMN]
        if len(rate_columns) != 1:
            raise ProfileError(
                f"the traffic of an hour must be in one column, but {len(rate_columns)} columns have it",
                path=str(path), line=1,
                hint=f"Write the columns {_HOUR_COLUMN} and rate_per_s, or {_HOUR_COLUMN} and requests_per_hour.",
            )  # fmt: skip
        hour_index, rate_index = columns.index(_HOUR_COLUMN), columns.index(rate_columns[0])
        rates_per_s: dict[int, float] = {}
        for cells in reader:
            if cells:
                hour, rate = _parse_row(path, reader.line_num, cells, hour_index, rate_index)
                if hour in rates_per_s:
                    raise ProfileError(f"the hour {hour} occurs twice", path=str(path), line=reader.line_num)
                rates_per_s[hour] = rate / _SECONDS_BY_COLUMN[rate_columns[0]]
    except csv.Error as error:
        raise ProfileError(f"the file is not valid CSV: {error}", path=str(path), line=reader.line_num) from error
    missing_hours = [str(hour) for hour in range(_HOURS_PER_DAY) if hour not in rates_per_s]
    if missing_hours:
        raise ProfileError(f"the hours {', '.join(missing_hours)} are missing", path=str(path),
                           hint="Write one row for each hour from 0 to 23.")  # fmt: skip
    peak_per_s = max(rates_per_s.values())
    if peak_per_s <= 0:
        raise ProfileError("every hour has no traffic", path=str(path))
    return {
        "peak": f"{peak_per_s!r}/s",
        "shape": [rates_per_s[hour] / peak_per_s for hour in range(_HOURS_PER_DAY)],
    }


def _normalize(columns: Sequence[str]) -> list[str]:
    return [column.strip().strip('"').casefold() for column in columns]


def _parse_row(path: Path, line: int, cells: Sequence[str], hour_index: int, rate_index: int) -> tuple[int, float]:
    if len(cells) <= max(hour_index, rate_index):
        raise ProfileError("the row has too few cells", path=str(path), line=line)
    hour_text, rate_text = cells[hour_index].strip(), cells[rate_index].strip().removesuffix("/s")
    match = _HOUR.fullmatch(hour_text)
    if match is None or int(match[1]) >= _HOURS_PER_DAY:
        raise ProfileError(
            f"{hour_text!r:.60} is not an hour", path=str(path), line=line, hint="Write 0 to 23, or 00:00 to 23:00."
        )
    try:
        rate = float(rate_text)
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate) or rate < 0:
        raise ProfileError(
            f"{rate_text!r:.60} must be a number of at least 0", path=str(path), line=line, hint="Write it like 120.5."
        )
    return int(match[1]), rate
