"""Result of a connection test, as rows and as a notice. All functions are pure."""

from __future__ import annotations

from app.gui.engine.launch import parse_reported_failure
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, with_unit
from app.gui.navigation import Notice, Severity
from app.records.trial import ConnectionTest, Failure

_MAX_LETTERS = 300


def trial_rows(trial: ConnectionTest) -> tuple[tuple[str, str], ...]:
    """Return the name and the text of each row, most important first."""
    rows = [("Status", NOT_AVAILABLE if trial.status is None else str(trial.status))]
    if trial.first_byte_ms is not None or trial.total_ms is not None:
        rows.append(("Time to first byte", _ms(trial.first_byte_ms)))
        if trial.wants_stream:
            rows.append(("Time to first token", _ms(trial.first_token_ms)))
        rows.append(("Total time", _ms(trial.total_ms)))
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
    rows += [(f"Sent: {name}", value) for name, value in trial.request_headers]
    rows += [(f"Received: {name}", value) for name, value in trial.response_headers]
    rows += [("Note", note) for note in trial.notes]
    return tuple((name[:80], text[:_MAX_LETTERS]) for name, text in rows)


def trial_notice(trial: ConnectionTest) -> Notice:
    if trial.problem is None:
        return Notice("news", "Connection OK – response matches the profile.")
    severity: Severity = "warning" if trial.is_measurable else "error"
    message = "{problem}: {what}.".format(problem=_TITLES[trial.problem], what=trial.summary[:_MAX_LETTERS].rstrip("."))
    consequence = None if trial.is_measurable else "A run would stop before sending load."
    return Notice(severity, message, consequence, trial.hint)


def error_notice(code: int, stderr: bytes) -> Notice:
    """Build the notice for a command that ended without a result, with the reported failure and the
    complete output as details."""
    failure, text = parse_reported_failure(stderr.decode(errors="replace"))
    if failure is None:
        failure = Failure(code, "The connection test ended unexpectedly.")
    return Notice("error", failure.message[:_MAX_LETTERS], None, failure.hint, text[-4000:] or None)


_TITLES = {
    "dns": "Host not found",
    "connect": "Connection failed",
    "tls": "TLS certificate not trusted",
    "unauthorized": "Unauthorized (401)",
    "forbidden": "Forbidden (403)",
    "not found": "Not found (404)",
    "refused": "Request rejected",
    "busy": "Rate limited (429)",
    "server error": "Server error",
    "timeout": "Timeout",
    "cut off": "Incomplete response",
    "wrong response": "Unexpected response",
    "local limit": "Limit of this machine",
    "not streaming": "Not streaming",
}  # one entry per problem, with the text that is shown


def _certificate(trial: ConnectionTest) -> str:
    tls = trial.tls
    if tls is None or tls.issuer is None:
        return "not verified"
    return f"{tls.subject or NOT_AVAILABLE}, issued by {tls.issuer}, valid until {tls.valid_until or NOT_AVAILABLE}"


def _ms(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), "ms")
