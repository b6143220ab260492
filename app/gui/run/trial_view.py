"""Result of a connection test, as rows and as a notice. All functions are pure."""

from __future__ import annotations

from app.gui.engine.launch import parse_reported_failure
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, with_unit
from app.gui.navigation import Notice, Severity
from app.records.trial import ConnectionTest, Failure

_MAX_CHARACTERS = 300


def build_result_rows(result: ConnectionTest) -> tuple[tuple[str, str], ...]:
    """Return the rows of a test result, each with a name and a text, most important first."""
    rows = [("Status", NOT_AVAILABLE if result.status is None else str(result.status))]
    if result.first_byte_ms is not None or result.total_ms is not None:
        rows.append(("Time to first byte", _format_ms(result.first_byte_ms)))
        if result.wants_stream:
            rows.append(("Time to first token", _format_ms(result.first_token_ms)))
        rows.append(("Total time", _format_ms(result.total_ms)))
    if result.bytes_received:
        rows.append(("Size", with_unit(format_count(result.bytes_received), "bytes")))
    if result.tokens_out is not None:
        rows.append(("Output tokens", format_count(result.tokens_out)))
    rows.append(("Target", f"{result.url} ({result.protocol})"))
    if result.model is not None:
        rows.append(("Model", result.model))
    if result.tls is not None:
        tls = result.tls
        rows.append(("TLS", f"{tls.version}, {tls.cipher}"))
        rows.append(("Certificate", _format_certificate(result)))
    rows += [(f"Sent: {name}", value) for name, value in result.request_headers]
    rows += [(f"Received: {name}", value) for name, value in result.response_headers]
    rows += [("Note", note) for note in result.notes]
    return tuple((name[:80], text[:_MAX_CHARACTERS]) for name, text in rows)


def build_result_notice(result: ConnectionTest) -> Notice:
    if result.problem is None:
        return Notice("news", "The connection works, and the response matches the profile.")
    severity: Severity = "warning" if result.is_measurable else "error"
    message = f"{_PROBLEM_TITLES[result.problem]}: {result.summary[:_MAX_CHARACTERS].rstrip('.')}."
    consequence = None if result.is_measurable else "A run would stop before sending load."
    return Notice(severity, message, consequence, result.hint)


def build_trial_error_notice(exit_code: int, stderr: bytes) -> Notice:
    """Build the notice for a command that ended without a result. The notice contains the reported
    failure, and up to 4,000 characters of the other output as details."""
    failure, other_output = parse_reported_failure(stderr.decode(errors="replace"))
    if failure is None:
        failure = Failure(exit_code, "The connection test ended unexpectedly.")
    return Notice("error", failure.message[:_MAX_CHARACTERS], None, failure.hint, other_output[-4000:] or None)


_PROBLEM_TITLES = {
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
    "truncated": "Incomplete response",
    "wrong response": "Unexpected response",
    "local limit": "Limit of this machine",
    "not streaming": "Not streaming",
}  # one entry per problem, with the text that is shown


def _format_certificate(result: ConnectionTest) -> str:
    tls = result.tls
    if tls is None or tls.issuer is None:
        return "not verified"
    return f"{tls.subject or NOT_AVAILABLE}, issued by {tls.issuer}, valid until {tls.valid_until or NOT_AVAILABLE}"


def _format_ms(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), "ms")
