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
"""`source` is host, endpoint, generator, engine, model or gpuN, a part of one (`host/core3`, `gpu0/mig1`,
`gpu0/pid77`), or the name of a page that is scraped, and what it tells of (`scrape1/gpu0`). `metric` is a name of the
metric catalogue, or of a scraped page. A reading that could not be had has a null value; a source that does not exist
has no rows."""


class Samples(msgspec.Struct, frozen=True):
    """What a server shows of itself for Prometheus at one moment, each metric summed over its labels: right for
    counters, meaningless for gauges."""

    totals: dict[str, float]
