"""Compare the outputs of a variant with those of the reference, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.columns import Floats, Mask
from app.analysis.estimates import estimate_percentile, estimate_proportion
from app.errors import UsageError
from app.records.local import Fidelity

Array = npt.NDArray[Any]

_NUMBERS_PER_BLOCK = 2**20
_SUM_TOLERANCE = 1e-3
_MIN_PROBABILITY = 1e-7
"""Minimum probability of a class, which is about the resolution of float32. A quantized softmax
returns exactly 0 for many classes; without the minimum, a single 0 would make the KL divergence
infinite."""
_ROW_TYPE = np.dtype(
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


def compute_fidelity(outputs: Array, reference: Array) -> Fidelity:
    """Compare the outputs of a variant with those of the reference in float64; the first axis is
    the row. Raises UsageError if the shapes differ or the types are not numeric.

    Agreement and KL divergence are computed only if each row has at least two numbers along exactly
    one axis, as class scores do; embeddings cannot be distinguished from class scores by shape.
    Rows are treated as probabilities if all reference rows are non-negative and sum to 1 within
    0.001; otherwise softmax is applied. The 99th percentile of the KL divergence needs 368 rows.

    The cosine similarity is 1 for two zero rows and 0 if only one row is zero. A row that contains
    NaN never agrees."""
    _check_shapes(outputs, reference)
    row_count = len(reference) if reference.ndim else 1
    width = math.prod(reference.shape[1:])
    has_scores = width > 1 and width in reference.shape[1:]
    row_results = _compare_rows(outputs.reshape(row_count, width), reference.reshape(row_count, width), has_scores)
    finite_row_results = row_results[row_results["is_finite"]]
    return Fidelity(
        rows=row_count,
        top1_agreement=estimate_proportion(int(row_results["agrees"].sum()), row_count) if has_scores else None,
        cosine_mean=_reduce_finite(finite_row_results["cosine"], np.mean) if width > 1 else None,
        cosine_min=_reduce_finite(finite_row_results["cosine"], np.min) if width > 1 else None,
        max_abs=_reduce_finite(finite_row_results["max_abs"], np.max),
        sqnr_db=_compute_sqnr_db(float(finite_row_results["signal"].sum()), float(finite_row_results["noise"].sum())),
        kl_mean=_reduce_finite(finite_row_results["divergence"], np.mean) if has_scores else None,
        kl_p99=estimate_percentile(finite_row_results["divergence"], 0.99).value if has_scores else None,
        is_equal=bool(row_results["is_equal"].all()),
        not_finite=int(row_results["not_finite"].sum()),
    )


def _check_shapes(outputs: Array, reference: Array) -> None:
    if outputs.shape != reference.shape:
        shapes = [" x ".join(map(str, array.shape)) or "a single number" for array in (outputs, reference)]
        raise UsageError(f"the variant's output is {shapes[0]}, but the reference's output is {shapes[1]}")
    for array in (outputs, reference):
        if array.dtype.kind not in "fiub":
            raise UsageError(f"outputs of type {array.dtype} cannot be compared numerically")


def _compare_rows(outputs: Array, reference: Array, has_scores: bool) -> npt.NDArray[Any]:
    """Compare each row of `outputs` with the same row of `reference`. For rows with non-finite
    numbers, only `agrees`, `is_equal` and `not_finite` are meaningful."""
    results = np.zeros(len(outputs), _ROW_TYPE)
    if not outputs.size:
        return results
    with np.errstate(all="ignore"):  # non-finite values are counted instead of reported
        are_probabilities = has_scores and all(
            _are_probabilities(x) for _, _, x in _iterate_row_blocks(outputs, reference)
        )
        for block, y, x in _iterate_row_blocks(outputs, reference):
            block_results = results[block]
            block_results["is_finite"] = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
            block_results["not_finite"] = (np.isfinite(y) != np.isfinite(x)).sum(axis=1)
            block_results["is_equal"] = ((y == x) | (np.isnan(y) & np.isnan(x))).all(axis=1)
            block_results["agrees"] = (
                (y.argmax(axis=1) == x.argmax(axis=1)) & ~np.isnan(y).any(axis=1) & ~np.isnan(x).any(axis=1)
            )
            block_results["signal"], block_results["noise"] = (x * x).sum(axis=1), ((x - y) ** 2).sum(axis=1)
            block_results["max_abs"] = np.abs(x - y).max(axis=1)
            block_results["cosine"] = _compute_cosines(y, x)
            block_results["divergence"] = _compute_divergences(y, x, are_probabilities) if has_scores else 0.0
    return results


def _iterate_row_blocks(outputs: Array, reference: Array) -> Iterator[tuple[slice, Floats, Floats]]:
    """Yield blocks of rows as (slice, rows of the variant, rows of the reference). Blocks limit the
    size of the float64 copies."""
    block_size = max(1, _NUMBERS_PER_BLOCK // outputs.shape[1])
    for start in range(0, len(outputs), block_size):
        block = slice(start, start + block_size)
        yield block, outputs[block].astype(np.float64), reference[block].astype(np.float64)


def _are_probabilities(rows: Floats) -> bool:
    finite_rows = rows[np.isfinite(rows).all(axis=1)]
    are_probabilities: Mask = (finite_rows >= 0).all(axis=1) & (np.abs(finite_rows.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    return bool(are_probabilities.all())


def _compute_cosines(outputs: Floats, reference: Floats) -> Floats:
    norms = np.linalg.norm(outputs, axis=1), np.linalg.norm(reference, axis=1)
    products = norms[0] * norms[1]
    cosines = (outputs * reference).sum(axis=1) / np.where(products > 0, products, 1)
    return np.where((norms[0] == 0) & (norms[1] == 0), 1.0, np.clip(cosines, -1, 1))


def _compute_divergences(outputs: Floats, reference: Floats, are_probabilities: bool) -> Floats:
    if are_probabilities:
        reference_probabilities, output_probabilities = (
            np.maximum(rows, _MIN_PROBABILITY) for rows in (reference, outputs)
        )
        reference_probabilities, output_probabilities = (
            rows / rows.sum(axis=1, keepdims=True) for rows in (reference_probabilities, output_probabilities)
        )
        return np.asarray(special.rel_entr(reference_probabilities, output_probabilities).sum(axis=1))
    return compute_softmax_divergences(outputs, reference)


def compute_softmax_divergences(outputs: Array, reference: Array) -> Floats:
    """Compute the KL divergence, in nats, of the softmax of each row of `outputs` from the softmax
    of the same row of `reference`, in float64."""
    divergences = np.zeros(len(outputs))
    for block, y, x in _iterate_row_blocks(outputs, reference):
        log_reference_probabilities, log_output_probabilities = (special.log_softmax(rows, axis=1) for rows in (x, y))
        divergences[block] = (
            np.exp(log_reference_probabilities) * (log_reference_probabilities - log_output_probabilities)
        ).sum(axis=1)
    return divergences


def _compute_sqnr_db(signal: float, noise: float) -> float | None:
    if not (signal > 0 and noise > 0 and math.isfinite(signal) and math.isfinite(noise)):
        return None
    return 10 * math.log10(signal / noise)


def _reduce_finite(values: Floats, reduce: Callable[[Floats], Any]) -> float | None:
    """Apply `reduce` to the values; return `None` if there are no values or the result is not
    finite."""
    value = float(reduce(values)) if values.size else math.nan
    return value if math.isfinite(value) else None
