"""Section of what the target's servers counted in each stage."""

from __future__ import annotations

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Column, Section


class ServerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the target's servers counted during one stage, beside the client's measurement.

    The latencies are means over all requests of the stage, lead-in and drain included. A client's
    latency starts at the send of the request, a server's at its arrival. Quantities that the
    servers do not report have no value.
    """

    stage: str
    requests: Quantity
    cached: Quantity
    """Share of the input tokens that the prefix cache served."""
    preemptions: Quantity
    queue: Quantity
    prefill: Quantity
    decode: Quantity
    ttft: Quantity
    client_ttft: Quantity
    itl: Quantity
    client_itl: Quantity
    e2e: Quantity
    client_e2e: Quantity


SERVERS: Section[ServerRow] = Section(
    name="servers",
    title="Server",
    caption="Server: mean latencies from its own counters, beside the client's, which start at the send",
    legend="Mean latencies in ms, as the server reports them; the client's start at the send of the request.",
    note="The counters include the requests of the lead-in and the drain. Client minus server is the time in the "
    "network, in routers, and in the HTTP code of both sides.",
    has_units=False,
    omits_empty=frozenset(("text", "window")),
    tab="breakdown",
    columns=(
        Column("stage", "stage"),
        Column("requests", "requests"),
        Column("queue", "queue"),
        Column("prefill", "prefill"),
        Column("decode", "decode"),
        Column("ttft", "server TTFT"),
        Column("client_ttft", "client TTFT"),
        Column("itl", "server ITL"),
        Column("client_itl", "client ITL"),
        Column("e2e", "server E2E"),
        Column("client_e2e", "client E2E"),
        Column("cached", "cached input"),
        Column("preemptions", "preemptions"),
    ),
    layouts={
        "text": "stage | queue prefill decode | ttft client_ttft | itl client_itl | e2e client_e2e | cached | "
        "preemptions",
        "markdown": "stage | queue | prefill | decode | ttft | client_ttft | itl | client_itl | cached",
        "all": "stage | requests | queue | prefill | decode | ttft | client_ttft | itl | client_itl | e2e | client_e2e "
        "| cached | preemptions",
    },
)
