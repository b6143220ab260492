"""The rows that a model is calibrated with, batch by batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.errors import UsageError
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec

_BATCH = 16


def load_batches(path: Path, names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> list[Feeds]:
    """As the model takes them; raises UsageError for rows that are not its inputs. Rows too few for a last batch of a
    model that takes no other are left out."""
    with np.load(path, allow_pickle=False) as archive:
        rows = {name: archive[f"arr_{number}"] for number, name in enumerate(names)}
    absent = [spec.name for spec in inputs if spec.name not in rows]
    if absent:
        raise UsageError(
            f"there are no rows for its input {', '.join(absent)}; there are for {', '.join(names)}",
            hint="Rows are one array for each input of the model.",
        )
    feeds = {
        spec.name: rows[spec.name].astype(object) if spec.dtype == "object" else rows[spec.name] for spec in inputs
    }
    for spec in inputs:
        if feeds[spec.name].dtype != np.dtype(spec.dtype):
            raise UsageError(f"it takes {spec.dtype} as {spec.name}, and the rows are {feeds[spec.name].dtype}")
    count = min(len(each) for each in feeds.values())
    size = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] > 0), None)
    if size is not None and count < size:
        raise UsageError(f"it takes {size} rows at a time, and there are {count} to calibrate it with")
    step, end = (size, count - count % size) if size else (_BATCH, count)
    return [{name: each[start : start + step] for name, each in feeds.items()} for start in range(0, end, step)]
