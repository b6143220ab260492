"""Schema of `telemetry.arrow`, with one row per reading, and metrics reported by a target's
server."""

from __future__ import annotations

import msgspec
import pyarrow as pa

TELEMETRY_SCHEMA = pa.schema(
    [
        ("at_ns", pa.int64()),
        ("source", pa.utf8()),
        ("metric", pa.utf8()),
        ("value", pa.float64()),
    ],
    metadata={"sizewise.telemetry": "1"},
)
"""Arrow schema of `telemetry.arrow`.

`source` is host, endpoint, generator, engine, model, gpuN or gpu-amdN (see `telemetry_sources`), a
part of such a source (`host/core3`, `gpu0/mig1`, `gpu0/pid77`), or the name of a scraped page,
optionally with a device (`scrape1/gpu0`). `metric` is a name from the metric catalog or from a scraped page. A failed
reading has a null value; a source that does not exist has no rows.
"""


class Samples(msgspec.Struct, frozen=True):
    """Prometheus metrics of a server at one point in time. Each value is summed over all labels of
    the metric, which is correct for counters and meaningless for gauges."""

    totals: dict[str, float]
    buckets: dict[str, dict[float, float]] = {}
    """Cumulative counts of the buckets of each histogram, by the name of the series and the upper
    bound in the series' unit (the label `le`)."""
    counters: dict[str, float] = {}
    """Value of each cumulative series by its name and labels: counters, and the sums and counts of
    histograms and summaries."""
    start_times_s: dict[str, float] = {}
    """Unix times in s at which the process started and its counters were created, by name and
    labels."""
