"""Data table of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.series import Series

if TYPE_CHECKING:
    import pandas as pd


def build_frame(series: Sequence[Series], x: Axis, y: Axis) -> pd.DataFrame:
    """Return the data as a DataFrame. If all series are lines with distinct labels and unique x
    values, there is one row per x value and one column per series, otherwise one row per sample."""
    import pandas as pd

    if not series:
        return pd.DataFrame({x.text: np.empty(0), y.text: np.empty(0)})
    labels = [item.label for item in series]
    is_wide = all(item.kind != "points" and _has_unique_x(item) for item in series) and len(set(labels)) == len(labels)
    return (
        _build_wide(series, x, y)
        if is_wide
        else pd.concat([_build_long(item, x, y) for item in series], ignore_index=True)
    )


def _has_unique_x(series: Series) -> bool:
    return not np.isnan(series.x).any() and len(np.unique(series.x)) == len(series.x)


def _build_wide(series: Sequence[Series], x: Axis, y: Axis) -> pd.DataFrame:
    import pandas as pd

    unit = f" ({y.unit})" if y.unit else ""
    columns = [pd.Series(item.y, index=item.x, name=f"{item.label}{unit}") for item in series]
    joined_frame = pd.concat(columns, axis=1).sort_index()
    joined_frame.index.name = x.text
    return joined_frame.reset_index()


def _build_long(series: Series, x: Axis, y: Axis) -> pd.DataFrame:
    import pandas as pd

    rows: dict[str, object] = {"Series": series.label}
    if series.names:
        rows["Name"] = list(series.names)
    rows |= {x.text: series.x, y.text: series.y}
    if series.hollow is not None:
        rows["Hollow"] = series.hollow
    return pd.DataFrame(rows, index=range(len(series.x)))
