"""One tidy row a reading: what `telemetry.arrow` holds; and what a target's server tells of itself."""

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
"""`source` is host, endpoint, generator, engine or gpuN; `metric` is a name of the metric catalogue. A reading that
could not be had has a null value; a source that does not exist has no rows."""


class Samples(msgspec.Struct, frozen=True):
    """What a server shows of itself for Prometheus at one moment, each metric summed over its labels: right for
    counters, meaningless for gauges."""

    totals: dict[str, float]
