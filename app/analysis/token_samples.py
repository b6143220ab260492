"""Pack joint samples of the input and output lengths of requests, for storage in a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.analysis.columns import Floats
from app.records.estimate import TokenSample
from app.records.metrics import PERCENTILES

MAX_PAIRS = 1024
"""Maximum number of pairs in a sample. This is enough for a p99 of the lengths, and small enough to
store one sample per stage."""
_STRATUM_COUNT = 32
_QUANTILE_COUNT = 256

Ints = npt.NDArray[np.int64]


def build_sample_from_rows(
    input_lengths: Sequence[float] | Floats, output_lengths: Sequence[float] | Floats
) -> TokenSample | None:
    """Sample the requests whose input and output lengths are both known, in row order; `None` if
    there are no such requests."""
    pairs = np.column_stack([np.asarray(input_lengths, dtype=float), np.asarray(output_lengths, dtype=float)])
    pairs = pairs[np.isfinite(pairs).all(axis=1) & (pairs >= 0).all(axis=1)]
    return build_sample_from_pairs(np.rint(pairs).astype(np.int64)) if len(pairs) else None


def build_sample_from_pairs(pairs: Ints, max_pairs: int = MAX_PAIRS) -> TokenSample:
    inputs, outputs = np.clip(_sample_systematically(pairs, max_pairs), 1, 2**31 - 1).T
    return TokenSample(inputs.astype("<i4").tobytes(), outputs.astype("<i4").tobytes())


def build_sample_from_percentiles(
    input_percentiles: Mapping[str, float], output_percentiles: Mapping[str, float]
) -> TokenSample | None:
    """Build a sample from percentiles of input and output lengths, for tools that do not report
    single requests. The two lengths are assumed to be independent.

    The median and a higher percentile are required for both lengths (otherwise `None`). Reported
    means are preserved."""
    columns = [_compute_quantiles(percentiles) for percentiles in (input_percentiles, output_percentiles)]
    if columns[0] is None or columns[1] is None:
        return None
    order = np.random.default_rng(0).permutation(_QUANTILE_COUNT)
    return build_sample_from_pairs(np.column_stack([columns[0], columns[1][order]]))


def unpack_pairs(sample: TokenSample) -> Ints:
    """Return the sample as an integer array with two columns: input tokens and output tokens."""
    columns = [np.frombuffer(column, "<i4").astype(np.int64) for column in (sample.input_tokens, sample.output_tokens)]
    return np.column_stack(columns)


def merge_samples(samples: Iterable[TokenSample], max_pairs: int = MAX_PAIRS) -> TokenSample | None:
    """Merge samples, each weighted by its number of pairs; `None` if there are no samples."""
    sample_pairs = [unpack_pairs(sample) for sample in samples]
    return build_sample_from_pairs(np.concatenate(sample_pairs), max_pairs) if sample_pairs else None


def scale_sample(sample: TokenSample, means: tuple[float, float]) -> TokenSample:
    """Scale a sample to other means of input and output lengths. The relative variation is
    preserved."""
    pairs = unpack_pairs(sample)
    return build_sample_from_pairs(np.rint(pairs * (np.array(means) / pairs.mean(axis=0))).astype(np.int64))


def find_sample_error(sample: TokenSample) -> str | None:
    """Return the reason why a sample is invalid, for example after a manual edit; `None` if it is
    valid."""
    size, remainder = divmod(len(sample.input_tokens), 4)
    if remainder or not 1 <= size <= 4 * MAX_PAIRS or len(sample.output_tokens) != len(sample.input_tokens):
        max_length = 4 * MAX_PAIRS
        return (
            f"a token length sample must have two columns of equal length, each with 1 to {max_length} 32-bit integers"
        )
    return None if (unpack_pairs(sample) >= 1).all() else "a token length sample contains a length below 1"


def _sample_systematically(pairs: Ints, max_pairs: int) -> Ints:
    """Draw a systematic sample: every n-th pair, in an order in which neighboring pairs are
    similar.

    The start is random, so that the longest requests are represented. Without them, the KV cache of
    the fitted model could be too small."""
    if len(pairs) <= max_pairs:
        return pairs
    strata = np.array_split(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))], _STRATUM_COUNT)
    ordered_strata = [
        stratum[np.argsort(stratum[:, 0], kind="stable")][:: -1 if index % 2 else 1]
        for index, stratum in enumerate(strata)
    ]
    start = np.random.default_rng(len(pairs)).random()
    positions = (start + np.arange(max_pairs)) * len(pairs) / max_pairs
    return np.asarray(np.concatenate(ordered_strata)[positions.astype(int)])


def _compute_quantiles(percentiles: Mapping[str, float]) -> Ints | None:
    """Compute quantiles of lengths by linear interpolation of the log lengths over normal scores,
    extrapolated beyond the highest percentile; `None` if there are too few percentiles."""
    known_quantiles = sorted(
        (PERCENTILES[name], value) for name, value in percentiles.items() if name in PERCENTILES and value >= 1
    )
    if len(known_quantiles) < 2 or known_quantiles[0][0] > 0.5:
        return None
    from scipy import special  # imported lazily, as the import would delay the start of a run

    probabilities, values = np.array(known_quantiles).T
    scores, log_lengths = special.ndtri(probabilities), np.log(np.maximum.accumulate(values))
    log_low = log_lengths[0] - (log_lengths[1] - log_lengths[0]) / (scores[1] - scores[0]) * (
        scores[0] + 3.0
    )  # symmetric around the median
    node_scores = special.ndtri((np.arange(_QUANTILE_COUNT) + 0.5) / _QUANTILE_COUNT)
    quantiles = np.exp(np.interp(node_scores, [-3.0, *scores], [log_low, *log_lengths]))
    mean = percentiles.get("mean")
    return np.asarray(np.maximum(np.rint(quantiles * (mean / quantiles.mean() if mean else 1.0)), 1), dtype=np.int64)
