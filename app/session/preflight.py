"""One request before the load: is there a target at all, and does it let us in?"""

from __future__ import annotations

from app.errors import UnavailableError, UsageError
from loadgen.process import LoadError
from loadgen.records import PreflightDone

_HINTS: dict[str | int | None, str] = {
    "dns": "Check the host name in target.url.",
    "connect": "Is the server up, and is the port in target.url, or target.socket, right?",
    "tls": "Name the server's CA in target.tls.ca_file, or correct its certificate.",
    401: "Give a valid credential in target.headers, e.g. Authorization: env:API_KEY.",
    403: "The credential is known and may not do this: check target.headers.",
    404: "Check the path in target.url, or the model's name in target.model.",
    405: "Check the path in target.url, and that target.protocol names what the server speaks.",
    501: "Check the path in target.url, and that target.protocol names what the server speaks.",
    "local-limit": "Raise the limit on this machine (`ulimit -n` for open files): the target was not reached.",
    "bad-payload": "Check that target.protocol names what the server speaks, and that target.url is its base URL.",
}
_HINT_WITHOUT_METADATA = "Check target.model and the server's log: requests are built from the model's metadata."


def hint_where_unreachable(report: PreflightDone) -> str | None:
    """What to do where no load can be measured: no connection, no permission, another protocol than the profile's, or
    no metadata to build requests from.

    None for any other failure: it is the target's response to the workload, and the run measures it.
    """
    if report.error is None:  # of a status, because workload.expect has it
        return None
    hint = _HINTS.get(report.status) or _HINTS.get(report.error)
    return hint if report.can_send else hint or _HINT_WITHOUT_METADATA


def require_reachable(report: PreflightDone, url: str) -> None:
    """Raises UnavailableError where no load can be measured."""
    hint = hint_where_unreachable(report)
    if hint is not None:
        raise UnavailableError(f"{url} cannot be measured: {report.detail}", hint=hint)


def failure_of_target(error: LoadError, *, has_measured: bool) -> str | None:
    """The sentence for a target that was reached and could not be loaded; None when the worker itself is at fault.

    Raises UsageError for a workload that cannot be built and UnavailableError for a target that is not there, unless
    something was measured before: what was measured is then kept.
    """
    if not has_measured and error.is_workload_wrong:
        raise UsageError(error.message, hint=error.hint) from error
    if not has_measured and error.error in _HINTS:
        raise UnavailableError(error.message, hint=error.hint or _HINTS[error.error]) from error
    return None if error.error is None else error.message
