"""Section of the audio and images of each stage."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Column, Output, Section, Table, list_aggregates


class MediaRow(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of the audio and images of one stage: time to first audio (`ttfa_…`), response time of a
    dialog (`response_…`), real-time factor (`rtf_…`), duration of the audio, and the rates of audio
    and images."""

    stage: str
    ttfa_p50: Quantity
    ttfa_p95: Quantity
    ttfa_p99: Quantity
    response_p50: Quantity
    response_p95: Quantity
    rtf_p50: Quantity
    rtf_p95: Quantity
    audio_mean: Quantity
    audio_per_s: Quantity
    images_per_s: Quantity
    throughput: Quantity


def _list_tables(rows: Sequence[MediaRow], _: Output) -> list[Table[MediaRow]]:
    has_audio = any(
        quantity.value is not None or quantity.is_undersampled
        for row in rows
        for quantity in (row.ttfa_p50, row.audio_mean)
    )
    legend = "times in ms, mean audio in s; RTF: service or response time / audio duration" if has_audio else ""
    return [Table(rows=rows, legend=legend)]


MEDIA = Section(
    name="media",
    record=MediaRow,
    rows_name="stages with audio or images",
    needs_metrics=frozenset(("ttfa_ms", "audio_s_per_s", "images_per_s")),
    title="Media",
    markdown_title="Audio and images",
    caption="Audio and images: time to first audio (TTFA) and response time in ms, and real-time factor (RTF), which "
    "is the service or response time divided by the duration of the audio",
    list_tables=_list_tables,
    has_units=False,
    omits_empty=frozenset(("text", "markdown", "html", "window")),
    tab="latency",
    columns=(
        Column("stage", "stage"),
        *list_aggregates("ttfa", "TTFA", "ttfa_ms", ("p50", "p95", "p99")),
        *list_aggregates("response", "response", "response_ms", ("p50", "p95")),
        *list_aggregates("rtf", "RTF", "real_time_factor", ("p50", "p95")),
        *list_aggregates("audio", "audio", "audio_s", ("mean",)),
        Column("audio_per_s", "audio throughput", unit_label="audio s/s", metric="audio_s_per_s"),
        Column("images_per_s", "image throughput", unit_label="images/s", metric="images_per_s"),
        Column("throughput", "throughput", unit_label="req/s", metric="completed_per_s"),
    ),
    layouts={
        "all": "stage | ttfa_p50 | ttfa_p95 | ttfa_p99 | response_p50 | response_p95 | rtf_p50 | rtf_p95 | "
        "audio_mean | audio_per_s | images_per_s | throughput",
    },
)
