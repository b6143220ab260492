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
    cumulative_counts = np.cumsum(counts)
    total_count = int(cumulative_counts[-1])
    return tuple(
        _interpolate_quantile_s(counts, cumulative_counts, probability * total_count) if total_count else None
        for probability in probabilities
    )


def _interpolate_quantile_s(counts: Ints, cumulative_counts: Ints, rank: float) -> float:
    bucket = min(int(cumulative_counts.searchsorted(rank, side="left")), BUCKET_COUNT - 1)
    while counts[bucket] == 0:  # rank 0
        bucket += 1
    edges_s, bucket_fraction = (
        get_bucket_edges_s(),
        (rank - (cumulative_counts[bucket] - counts[bucket])) / counts[bucket],
    )
    return float(edges_s[bucket] + (edges_s[bucket + 1] - edges_s[bucket]) * min(max(bucket_fraction, 0.0), 1.0))
