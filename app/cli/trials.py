"""Format the outcome of a trial request to a target as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.tables import shown
from app.records.trial import Trial


def trial_lines(trial: Trial) -> Iterator[str]:
    yield f"target      {shown(trial.url)} ({trial.protocol}{'' if trial.model is None else f', {shown(trial.model)}'})"
    yield f"answer      {'status ' + str(trial.status) + ': ' if trial.status is not None else ''}{shown(trial.what)}"
    if trial.first_byte_ms is not None or trial.total_ms is not None:
        times = [f"first byte {_ms(trial.first_byte_ms)}"]
        if trial.wants_stream:
            times.append(f"first token {_ms(trial.first_token_ms)}")
        yield f"time        {', '.join([*times, f'whole answer {_ms(trial.total_ms)}'])}"
    if trial.tokens_out is not None or trial.bytes_received:
        yield f"size        {shown(trial.bytes_received)} bytes, {shown(trial.tokens_out)} output tokens"
    if trial.tls is not None:
        tls = trial.tls
        yield f"TLS         {shown(tls.version)}, {shown(tls.cipher)}"
        yield f"certificate of {shown(tls.subject)}, by {shown(tls.issuer)}, until {shown(tls.valid_until)}"
    for name, value in trial.asked_headers:
        yield f"sent        {shown(name)}: {shown(value)}"
    for name, value in trial.answer_headers:
        yield f"received    {shown(name)}: {shown(value)}"
    for note in trial.notes:
        yield f"note        {shown(note)}"


def _ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g} ms"
