"""What a trial tells, as rows and as a notice. Pure."""

from __future__ import annotations

from app.gui.engine.failure import reported_failure
from app.gui.formatting import NOT_AVAILABLE, count, number, with_unit
from app.gui.navigation import Notice, Severity
from app.gui.words import tr
from app.records.failure import Failure
from app.records.trial import Trial

_LONGEST = 300


def trial_rows(trial: Trial) -> tuple[tuple[str, str], ...]:
    """Name and text, those first that are looked at first."""
    rows = [(tr("Status"), NOT_AVAILABLE if trial.status is None else str(trial.status))]
    if trial.first_byte_ms is not None or trial.total_ms is not None:
        rows.append((tr("First byte"), _ms(trial.first_byte_ms)))
        if trial.wants_stream:
            rows.append((tr("First token (TTFT)"), _ms(trial.first_token_ms)))
        rows.append((tr("Whole answer"), _ms(trial.total_ms)))
    if trial.bytes_received:
        rows.append((tr("Size"), with_unit(count(trial.bytes_received), tr("bytes"))))
    if trial.tokens_out is not None:
        rows.append((tr("Output tokens"), count(trial.tokens_out)))
    rows.append((tr("Target"), f"{trial.url} ({trial.protocol})"))
    if trial.model is not None:
        rows.append((tr("Model"), trial.model))
    if trial.tls is not None:
        tls = trial.tls
        rows.append((tr("TLS"), f"{tls.version}, {tls.cipher}"))
        rows.append((tr("Certificate"), _certificate(trial)))
    rows += [(tr("Sent: {name}").format(name=name), value) for name, value in trial.asked_headers]
    rows += [(tr("Received: {name}").format(name=name), value) for name, value in trial.answer_headers]
    rows += [(tr("Note"), note) for note in trial.notes]
    return tuple((name[:80], text[:_LONGEST]) for name, text in rows)


def trial_notice(trial: Trial) -> Notice:
    if trial.problem is None:
        return Notice("news", tr("The target answers as the profile wants it."))
    severity: Severity = "warning" if trial.is_measurable else "error"
    what = tr("{problem}: {what}.").format(problem=_TITLES[trial.problem](), what=trial.what[:_LONGEST].rstrip("."))
    why = None if trial.is_measurable else tr("A run would end before its load, with exit code 3.")
    return Notice(severity, what, why, trial.remedy)


def error_notice(code: int, said: bytes) -> Notice:
    """Of a command that ended without a trial: the failure that it reported, with all it printed as details."""
    failure, text = reported_failure(said.decode(errors="replace"))
    if failure is None:
        failure = Failure(code, tr("The test ended with code {code} and told nothing.").format(code=code))
    return Notice("error", failure.message[:_LONGEST], None, failure.hint, text[-4000:] or None)


_TITLES = {
    "dns": lambda: tr("No such host"),
    "connect": lambda: tr("No connection"),
    "tls": lambda: tr("No trusted TLS connection"),
    "unauthorised": lambda: tr("Not let in (401)"),
    "forbidden": lambda: tr("Not allowed (403)"),
    "not found": lambda: tr("Not found (404)"),
    "refused": lambda: tr("The request is refused"),
    "busy": lambda: tr("The target limits its callers (429)"),
    "server error": lambda: tr("The server failed"),
    "timeout": lambda: tr("No answer in time"),
    "cut off": lambda: tr("The answer was cut off"),
    "wrong answer": lambda: tr("Not the answer that was expected"),
    "local limit": lambda: tr("A limit of this machine"),
    "not streaming": lambda: tr("Not streaming"),
}  # one a word, so that translation happens when it is shown


def _certificate(trial: Trial) -> str:
    tls = trial.tls
    if tls is None or tls.issuer is None:
        return tr("not verified, so not read")
    return tr("of {subject}, by {issuer}, until {until}").format(
        subject=tls.subject or NOT_AVAILABLE, issuer=tls.issuer, until=tls.valid_until or NOT_AVAILABLE
    )


def _ms(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else with_unit(number(value), "ms")
