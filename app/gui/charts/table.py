"""Data table of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.series import Series

if TYPE_CHECKING:
    import pandas as pd


def build_frame(series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> pd.DataFrame:
    """Return the data as a DataFrame. If all series are lines with distinct labels and unique x
    values, there is one row per x value and one column per series, otherwise one row per sample."""
    import pandas as pd

    if not series:
        return pd.DataFrame({x_axis.text: np.empty(0), y_axis.text: np.empty(0)})
    labels = [data_series.label for data_series in series]
    is_wide = all(data_series.kind != "points" and _has_unique_x(data_series) for data_series in series) and len(
        set(labels)
    ) == len(labels)
    return (
        _build_wide(series, x_axis, y_axis)
        if is_wide
        else pd.concat([_build_long(data_series, x_axis, y_axis) for data_series in series], ignore_index=True)
    )


def _has_unique_x(series: Series) -> bool:
    return not np.isnan(series.x).any() and len(np.unique(series.x)) == len(series.x)


def _build_wide(series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> pd.DataFrame:
    import pandas as pd

    unit = f" ({y_axis.unit})" if y_axis.unit else ""
    columns = [
        pd.Series(data_series.y, index=data_series.x, name=f"{data_series.label}{unit}") for data_series in series
    ]
    wide_frame = pd.concat(columns, axis=1).sort_index()
    wide_frame.index.name = x_axis.text
    return wide_frame.reset_index()


def _build_long(series: Series, x_axis: Axis, y_axis: Axis) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, object] = {"Series": series.label}
    if series.names:
        columns["Name"] = list(series.names)
    columns |= {x_axis.text: series.x, y_axis.text: series.y}
    if series.hollow_flags is not None:
        columns["Hollow"] = series.hollow_flags
    return pd.DataFrame(columns, index=range(len(series.x)))
