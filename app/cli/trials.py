"""Format the outcome of a connection test as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.tables import format_cell
from app.records.trial import ConnectionTest


def format_trial(trial: ConnectionTest) -> Iterator[str]:
    yield (
        f"target      {format_cell(trial.url)} "
        f"({trial.protocol}{'' if trial.model is None else f', {format_cell(trial.model)}'})"
    )
    yield (
        "response    "
        f"{'status ' + str(trial.status) + ': ' if trial.status is not None else ''}{format_cell(trial.summary)}"
    )
    if trial.first_byte_ms is not None or trial.total_ms is not None:
        duration_texts = [f"first byte {_format_ms(trial.first_byte_ms)}"]
        if trial.wants_stream:
            duration_texts.append(f"first token {_format_ms(trial.first_token_ms)}")
        yield f"time        {', '.join([*duration_texts, f'total {_format_ms(trial.total_ms)}'])}"
    if trial.tokens_out is not None or trial.bytes_received:
        yield f"size        {format_cell(trial.bytes_received)} bytes, {format_cell(trial.tokens_out)} output tokens"
    if trial.tls is not None:
        tls = trial.tls
        yield f"TLS         {format_cell(tls.version)}, {format_cell(tls.cipher)}"
        yield (
            f"certificate of {format_cell(tls.subject)}, issued by {format_cell(tls.issuer)}, valid until "
            f"{format_cell(tls.valid_until)}"
        )
    for name, value in trial.request_headers:
        yield f"sent        {format_cell(name)}: {format_cell(value)}"
    for name, value in trial.response_headers:
        yield f"received    {format_cell(name)}: {format_cell(value)}"
    for note in trial.notes:
        yield f"note        {format_cell(note)}"


def _format_ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g} ms"
