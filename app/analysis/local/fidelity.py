"""How near a variant's outputs came to the reference's, without any label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.columns import Floats, Mask
from app.analysis.estimates import percentile, share
from app.errors import UsageError
from app.records.local import Fidelity

Array = npt.NDArray[Any]

_NUMBERS_AT_ONCE = 2**20
_SUM_TOLERANCE = 1e-3
_LEAST_CHANCE = 1e-7
"""Of a class that is given as a probability, about a float32's step: a quantised softmax gives many classes exactly 0,
and one of them would make the divergence infinite."""
_ROW = np.dtype(
    [
        ("agrees", "?"),
        ("is_equal", "?"),
        ("is_finite", "?"),
        ("not_finite", "i8"),
        ("cosine", "f8"),
        ("max_abs", "f8"),
        ("signal", "f8"),
        ("noise", "f8"),
        ("divergence", "f8"),
    ]
)


def fidelity_of(outputs: Array, reference: Array) -> Fidelity:
    """The first axis is the row; computed in float64. Raises UsageError for shapes that differ, and for no numbers.

    Agreement and KL are told where a row has two numbers or more along one axis and no other, and so may be scores of
    classes; by its shape nobody can tell an embedding from them. Where every row of the reference is non-negative and
    sums to 1 within 0.001 they are probabilities as they are; else softmax makes them so. A cosine is 1 of two rows of
    zeros and 0 of one, KL's 99th percentile needs 368 rows, and a row with NaN agrees with none.
    """
    _check(outputs, reference)
    rows = len(reference) if reference.ndim else 1
    width = math.prod(reference.shape[1:])
    has_scores = width > 1 and width in reference.shape[1:]
    found = _rows(outputs.reshape(rows, width), reference.reshape(rows, width), has_scores)
    compared = found[found["is_finite"]]
    return Fidelity(
        rows=rows,
        top1_agreement=share(int(found["agrees"].sum()), rows) if has_scores else None,
        cosine_mean=_known(compared["cosine"], np.mean) if width > 1 else None,
        cosine_least=_known(compared["cosine"], np.min) if width > 1 else None,
        max_abs=_known(compared["max_abs"], np.max),
        sqnr_db=_decibels(float(compared["signal"].sum()), float(compared["noise"].sum())),
        kl_mean=_known(compared["divergence"], np.mean) if has_scores else None,
        kl_p99=percentile(compared["divergence"], 0.99).value if has_scores else None,
        is_equal=bool(found["is_equal"].all()),
        not_finite=int(found["not_finite"].sum()),
    )


def _check(outputs: Array, reference: Array) -> None:
    if outputs.shape != reference.shape:
        shapes = [" x ".join(map(str, array.shape)) or "a single number" for array in (outputs, reference)]
        raise UsageError(f"the variant puts out {shapes[0]}, and the reference {shapes[1]}")
    for array in (outputs, reference):
        if array.dtype.kind not in "fiub":
            raise UsageError(f"an output of {array.dtype} has no numbers to compare")


def _rows(now: Array, before: Array, has_scores: bool) -> npt.NDArray[Any]:
    """What is told of each row; of one with a number that is not finite, no more than that and whether it agrees."""
    found = np.zeros(len(now), _ROW)
    if not now.size:
        return found
    with np.errstate(all="ignore"):  # what overflows or is NaN is not finite, and is counted
        are_chances = has_scores and all(_are_chances(x) for _, _, x in _blocks(now, before))
        for block, y, x in _blocks(now, before):
            one = found[block]
            one["is_finite"] = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
            one["not_finite"] = (np.isfinite(y) != np.isfinite(x)).sum(axis=1)
            one["is_equal"] = ((y == x) | (np.isnan(y) & np.isnan(x))).all(axis=1)
            one["agrees"] = (y.argmax(axis=1) == x.argmax(axis=1)) & ~np.isnan(y).any(axis=1) & ~np.isnan(x).any(axis=1)
            one["signal"], one["noise"] = (x * x).sum(axis=1), ((x - y) ** 2).sum(axis=1)
            one["max_abs"] = np.abs(x - y).max(axis=1)
            one["cosine"] = _cosines(y, x)
            one["divergence"] = _divergences(y, x, are_chances) if has_scores else 0.0
    return found


def _blocks(now: Array, before: Array) -> Iterator[tuple[slice, Floats, Floats]]:
    """Some rows at a time, so that float64 copies stay small: which they are, the variant's, the reference's."""
    at_once = max(1, _NUMBERS_AT_ONCE // now.shape[1])
    for start in range(0, len(now), at_once):
        block = slice(start, start + at_once)
        yield block, now[block].astype(np.float64), before[block].astype(np.float64)


def _are_chances(rows: Floats) -> bool:
    finite = rows[np.isfinite(rows).all(axis=1)]
    are: Mask = (finite >= 0).all(axis=1) & (np.abs(finite.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    return bool(are.all())


def _cosines(now: Floats, before: Floats) -> Floats:
    norms = np.linalg.norm(now, axis=1), np.linalg.norm(before, axis=1)
    products = norms[0] * norms[1]
    cosines = (now * before).sum(axis=1) / np.where(products > 0, products, 1)
    return np.where((norms[0] == 0) & (norms[1] == 0), 1.0, np.clip(cosines, -1, 1))


def _divergences(now: Floats, before: Floats, are_chances: bool) -> Floats:
    if are_chances:
        likely, told = (np.maximum(rows, _LEAST_CHANCE) for rows in (before, now))
        likely, told = (rows / rows.sum(axis=1, keepdims=True) for rows in (likely, told))
        return np.asarray(special.rel_entr(likely, told).sum(axis=1))
    log_likely, log_told = (special.log_softmax(rows, axis=1) for rows in (before, now))
    return np.asarray((np.exp(log_likely) * (log_likely - log_told)).sum(axis=1))


def _decibels(signal: float, noise: float) -> float | None:
    if not (signal > 0 and noise > 0 and math.isfinite(signal) and math.isfinite(noise)):
        return None
    return 10 * math.log10(signal / noise)


def _known(values: Floats, fold: Callable[[Floats], Any]) -> float | None:
    """None of nothing, and of what outgrew float64."""
    value = float(fold(values)) if values.size else math.nan
    return value if math.isfinite(value) else None
