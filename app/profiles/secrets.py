"""Detect, redact and resolve secrets.

Profiles contain references to secrets (`env:NAME` or `file:PATH`) instead of the secrets.
References are resolved as late as possible.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from app.errors import UsageError
from app.profiles.problems import BadValueError
from loadgen.regular_files import read_regular

REDACTED = "<redacted>"
_MAX_SECRET_BYTES = 64 * 1024
_SAFE_HEADERS = frozenset(
    ("accept", "accept-encoding", "accept-language", "anthropic-beta", "anthropic-version", "cache-control",
     "content-type", "traceparent", "user-agent", "x-request-id")
)  # fmt: skip
_REFERENCE = re.compile(
    r"(?P<before>(?:(?:Bearer|Basic|Token|ApiKey) +)?)(?:(?P<env>env)|file):(?P<name>(?(env)[A-Za-z_]\w*|.+))"
)
_SECRET_SUFFIXES = ("token", "key", "secret", "password", "passwd", "pwd", "signature", "credential", "auth")
_SECRET_NAMES = ("sig", "jwt", "code", "authorization", "credentials")
_SECRET_LAST_WORDS = frozenset(
    ("pass", "passcode", "passphrase", "pat", "pw", "pswd", "bearer", "jwt", "otp", "sas", "session", "sessionid",
     "sid", "cookie")
)  # fmt: skip
"""Words that indicate a secret if they are the last word of a name, as in `db_pass`, but not if a
longer word ends with them, as in `bypass`."""
_SAFE_BODY_KEYS = frozenset(
    ("bostoken", "eostoken", "padtoken", "unktoken", "masktoken", "septoken", "clstoken", "stoptoken", "code",
     "session", "cachekey", "promptcachekey", "primarykey", "partitionkey", "sortkey", "foreignkey")
)  # fmt: skip
"""Keys of request bodies that resemble the name of a secret but contain settings or data."""
_TOKEN = re.compile(
    r"(?:(?:Bearer|Basic|Token|ApiKey) +)?"
    r"(?:sk-[\w-]{16,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{16,}|xox[abeoprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|nvapi-[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
"""Pattern for access tokens that are recognizable by their format, with or without a preceding
authentication scheme."""


def is_sensitive_header(header: str) -> bool:
    """Return whether a header's value must never be written to a file.

    Every header is considered sensitive, except for a few standard headers that cannot contain a
    secret.
    """
    return header.casefold() not in _SAFE_HEADERS


def redact_header(header: str, value: str) -> str:
    """Return the header value, redacted if the header is sensitive and the value is not a reference
    to a secret."""
    return REDACTED if is_sensitive_header(header) and _REFERENCE.fullmatch(value) is None else value


def make_reference_absolute(value: str, directory: Path) -> str:
    """Return the header value. If the value is a `file:` reference, its path is made absolute,
    relative to `directory`."""
    match = _REFERENCE.fullmatch(value)
    if match is None or match["env"]:
        return value
    return f"{match['before']}file:{(directory / match['name']).resolve()}"


def is_reference(text: str) -> bool:
    """Return whether a string is a reference to a secret and not the secret itself."""
    return _REFERENCE.fullmatch(text) is not None


def find_reference(text: str) -> str | None:
    """Return the reference (`env:NAME` or `file:PATH`) without the authentication scheme; `None` if
    the string is not a reference."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else text.removeprefix(match["before"])


def parse_file_reference(text: str) -> tuple[str, str] | None:
    """Return the authentication scheme and the path of a `file:` reference; `None` for any other
    string."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None or match["env"] else (match["before"], match["name"])


def resolve_secret(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the string with its `env:NAME` or `file:PATH` reference replaced by the secret.

    An authentication scheme may precede the reference, as in `Bearer env:API_KEY`. A string without
    a reference is returned unchanged. Raises UsageError if the secret cannot be read; the message
    never contains a secret.
    """
    if text == REDACTED:
        raise UsageError("a header of this profile was redacted on export", hint="Set the header as env:NAME.")
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return text
    read = _read_from_environment if match["env"] else _read_from_file
    value = read(match["name"], environment)
    if not value or not value.isprintable():
        raise UsageError(f"{text.removeprefix(match['before'])} does not contain a single line of text")
    return match["before"] + value


def _read_from_environment(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise UsageError(f"the environment variable {name} is not set", hint=f"Set {name} before the run.")
    return environment[name]


def _read_from_file(name: str, _: Mapping[str, str]) -> str:
    try:
        return read_regular(name, _MAX_SECRET_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            reason, hint = error.strerror, "Check the path; it is relative to the profile's folder."
        else:
            reason, hint = "the file is not UTF-8 text", "Save the secret as UTF-8 text."
        raise UsageError(f"the secret file {name} cannot be read: {reason}", hint=hint) from None


def is_secret_name(name: str) -> bool:
    """Return whether a query parameter, command option or environment variable with this name
    probably contains a secret."""
    stripped_name = _strip_separators(name)
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return (
        stripped_name in _SECRET_NAMES
        or stripped_name.endswith(_SECRET_SUFFIXES)
        or stripped_name in _SECRET_LAST_WORDS
        or bool(words and words[-1].casefold() in _SECRET_LAST_WORDS)
    )


def is_token(text: str) -> bool:
    """Return whether a string has the format of an access token."""
    return _TOKEN.fullmatch(text) is not None


def is_secret_in_body(key: str, value: object) -> bool:
    """Return whether a value in a request body is probably a secret, based on its key or its
    format.

    Only strings can be secrets.
    """
    if not isinstance(value, str) or value in ("", REDACTED) or is_placeholder(value):
        return False
    return is_token(value) or (is_secret_name(key) and _strip_separators(key) not in _SAFE_BODY_KEYS)


def is_placeholder(text: str) -> bool:
    """Return whether a template value is a placeholder for a dataset column, such as {{column}}."""
    return text.startswith("{{") and text.endswith("}}")


def _strip_separators(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def check_url_has_no_secret(url: str) -> None:
    """Check that a URL contains no user, password or secret. Otherwise, raise BadValueError, whose
    message does not contain the URL."""
    url_parts = urlsplit(url)
    hint = "Set it in target.headers as env:NAME or file:PATH."
    if "@" in url_parts.netloc:
        raise BadValueError("the URL contains a user or a password", hint=hint)
    for name, value in parse_qsl(url_parts.query, keep_blank_values=True):
        if is_secret_name(name) or is_token(value):
            raise BadValueError(f"the URL's query contains a secret: {name}=…", hint=hint)
