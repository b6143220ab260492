"""The name, type and shape of a tensor."""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True):
    """`dtype` is NumPy's name, `object` for strings; an axis of any length is -1 in `shape`.

    `axes` are the names of such axes, None for one that has none or is fixed; empty where nobody asked for them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...] = ()
