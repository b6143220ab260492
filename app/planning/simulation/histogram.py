"""Histogram of latencies with a fixed number of log-scale buckets: 256 per factor of 2, so at most
0.4 % wide.

The bucket number consists of the exponent and the 8 leading bits of the mantissa of the latency as
a double. Latencies below 10 µs or above an hour are counted in the first or last bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from app.planning.simulation.compiled import Floats, Ints, inlined

_DISCARDED_BITS = 44
_MIN_S, _MAX_S = 10e-6, 3600.0
_FIRST_CODE = int(np.float64(_MIN_S).view(np.int64)) >> _DISCARDED_BITS
BUCKET_COUNT = (int(np.float64(_MAX_S).view(np.int64)) >> _DISCARDED_BITS) - _FIRST_CODE + 1


@inlined
def find_bucket(time_s: float) -> int:
    bucket = int(np.float64(time_s).view(np.int64) >> _DISCARDED_BITS) - _FIRST_CODE
    return min(max(bucket, 0), BUCKET_COUNT - 1)


@cache
def get_bucket_edges_s() -> Floats:
    """Return the lower edge of each bucket and the upper edge of the last bucket in seconds, as a
    read-only array."""
    bits: Ints = (np.arange(BUCKET_COUNT + 1, dtype=np.int64) + _FIRST_CODE) << _DISCARDED_BITS
    edges_s = bits.view(np.float64)
    edges_s.flags.writeable = False
    return edges_s


def compute_quantiles_s(counts: Ints, probabilities: Sequence[float]) -> tuple[float | None, ...]:
    """Return several quantiles of a histogram in seconds; `None` for each if the histogram is
    empty."""
    cumulative_counts = counts.cumsum()
    total_count = int(cumulative_counts[-1])
    if not total_count:
        return (None,) * len(probabilities)
    ranks = [probability * total_count for probability in probabilities]
    buckets = cumulative_counts.searchsorted(ranks, side="left").tolist()
    return tuple(
        _interpolate_quantile_s(counts, cumulative_counts, min(bucket, BUCKET_COUNT - 1), rank)
        for bucket, rank in zip(buckets, ranks, strict=True)
    )


def _interpolate_quantile_s(counts: Ints, cumulative_counts: Ints, bucket: int, rank: float) -> float:
    while counts[bucket] == 0:  # rank 0
        bucket += 1
    count, (lower_s, upper_s) = int(counts[bucket]), get_bucket_edges_s()[bucket : bucket + 2].tolist()
    bucket_fraction = (rank - (int(cumulative_counts[bucket]) - count)) / count
    return float(lower_s + (upper_s - lower_s) * min(max(bucket_fraction, 0.0), 1.0))
