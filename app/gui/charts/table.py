"""The table twin of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.series import Series

if TYPE_CHECKING:
    import pandas as pd


def frame_of(series: Sequence[Series], x: Axis, y: Axis) -> pd.DataFrame:
    """One row an x and one column a series where that is possible; else one row a sample."""
    import pandas as pd

    if not series:
        return pd.DataFrame({x.text: np.empty(0), y.text: np.empty(0)})
    labels = [one.label for one in series]
    is_wide = all(one.kind != "points" and _is_unlike(one) for one in series) and len(set(labels)) == len(labels)
    return _wide(series, x, y) if is_wide else pd.concat([_tall(one, x, y) for one in series], ignore_index=True)


def _is_unlike(one: Series) -> bool:
    return not np.isnan(one.x).any() and len(np.unique(one.x)) == len(one.x)


def _wide(series: Sequence[Series], x: Axis, y: Axis) -> pd.DataFrame:
    import pandas as pd

    unit = f" ({y.unit})" if y.unit else ""
    columns = [pd.Series(one.y, index=one.x, name=f"{one.label}{unit}") for one in series]
    joined = pd.concat(columns, axis=1).sort_index()
    joined.index.name = x.text
    return joined.reset_index()


def _tall(one: Series, x: Axis, y: Axis) -> pd.DataFrame:
    import pandas as pd

    rows: dict[str, object] = {"Series": one.label}
    if one.names:
        rows["Name"] = list(one.names)
    rows |= {x.text: one.x, y.text: one.y}
    if one.hollow is not None:
        rows["Hollow"] = one.hollow
    return pd.DataFrame(rows, index=range(len(one.x)))
