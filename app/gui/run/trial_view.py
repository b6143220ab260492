"""Result of a connection test, as rows and as a notice. Pure functions."""

from __future__ import annotations

from app.gui.engine.launch import parse_reported_failure
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, with_unit
from app.gui.navigation import Notice, Severity
from app.records.trial import ConnectionTest, Failure

_MAX_LETTERS = 300


def trial_rows(trial: ConnectionTest) -> tuple[tuple[str, str], ...]:
    """Return name and text of each row, most important first."""
    rows = [("Status", NOT_AVAILABLE if trial.status is None else str(trial.status))]
    if trial.first_byte_ms is not None or trial.total_ms is not None:
        rows.append(("First byte", _ms(trial.first_byte_ms)))
        if trial.wants_stream:
            rows.append(("First token (TTFT)", _ms(trial.first_token_ms)))
        rows.append(("Whole answer", _ms(trial.total_ms)))
    if trial.bytes_received:
        rows.append(("Size", with_unit(format_count(trial.bytes_received), "bytes")))
    if trial.tokens_out is not None:
        rows.append(("Output tokens", format_count(trial.tokens_out)))
    rows.append(("Target", f"{trial.url} ({trial.protocol})"))
    if trial.model is not None:
        rows.append(("Model", trial.model))
    if trial.tls is not None:
        tls = trial.tls
        rows.append(("TLS", f"{tls.version}, {tls.cipher}"))
        rows.append(("Certificate", _certificate(trial)))
    rows += [(f"Sent: {name}", value) for name, value in trial.asked_headers]
    rows += [(f"Received: {name}", value) for name, value in trial.answer_headers]
    rows += [("Note", note) for note in trial.notes]
    return tuple((name[:80], text[:_MAX_LETTERS]) for name, text in rows)


def trial_notice(trial: ConnectionTest) -> Notice:
    if trial.problem is None:
        return Notice("news", "The target answers as the profile wants it.")
    severity: Severity = "warning" if trial.is_measurable else "error"
    message = "{problem}: {what}.".format(problem=_TITLES[trial.problem], what=trial.what[:_MAX_LETTERS].rstrip("."))
    consequence = None if trial.is_measurable else "A run would end before its load, with exit code 3."
    return Notice(severity, message, consequence, trial.remedy)


def error_notice(code: int, stderr: bytes) -> Notice:
    """Build the notice for a command that ended without a result: the reported failure, and all output as details."""
    failure, text = parse_reported_failure(stderr.decode(errors="replace"))
    if failure is None:
        failure = Failure(code, f"The test ended with code {code} and told nothing.")
    return Notice("error", failure.message[:_MAX_LETTERS], None, failure.hint, text[-4000:] or None)


_TITLES = {
    "dns": "No such host",
    "connect": "No connection",
    "tls": "No trusted TLS connection",
    "unauthorised": "Not let in (401)",
    "forbidden": "Not allowed (403)",
    "not found": "Not found (404)",
    "refused": "The request is refused",
    "busy": "The target limits its callers (429)",
    "server error": "The server failed",
    "timeout": "No answer in time",
    "cut off": "The answer was cut off",
    "wrong answer": "Not the answer that was expected",
    "local limit": "A limit of this machine",
    "not streaming": "Not streaming",
}  # one entry per problem, so that each is translated when it is shown


def _certificate(trial: ConnectionTest) -> str:
    tls = trial.tls
    if tls is None or tls.issuer is None:
        return "not verified, so not read"
    return f"of {tls.subject or NOT_AVAILABLE}, by {tls.issuer}, until {tls.valid_until or NOT_AVAILABLE}"


def _ms(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), "ms")
