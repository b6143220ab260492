"""Secrets stay outside profiles: `env:NAME` and `file:PATH` say where one is, and it is read as late as can be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from app.errors import UsageError
from app.profiles.problems import BadValueError

REDACTED = "<redacted>"
_PLAIN_HEADERS = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "traceparent", "user-agent",
     "x-request-id")
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
"""Names of secrets where they are a word by themselves, as in `db_pass`, and not the end of one, as in `bypass`."""
_HARMLESS_BODY_KEYS = frozenset(
    ("bostoken", "eostoken", "padtoken", "unktoken", "masktoken", "septoken", "clstoken", "stoptoken", "code",
     "session", "cachekey", "promptcachekey", "primarykey", "partitionkey", "sortkey", "foreignkey")
)  # fmt: skip
"""Keys of request bodies that end like a secret's name and hold settings or data."""
_TOKEN = re.compile(
    r"(?:(?:Bearer|Basic|Token|ApiKey) +)?"
    r"(?:sk-[\w-]{16,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{16,}|xox[abeoprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|nvapi-[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
"""Tokens that show by their form whose they are, and that they are secret; also after the name of a scheme."""


def is_sensitive(header: str) -> bool:
    """Whether a header's value is kept out of every file; all are, but for a few that cannot hold a secret."""
    return header.casefold() not in _PLAIN_HEADERS


def redact(header: str, value: str) -> str:
    """What may be written: references as they are, secrets' places and not their values."""
    return REDACTED if is_sensitive(header) and _REFERENCE.fullmatch(value) is None else value


def anchor(value: str, directory: Path) -> str:
    """The same header with a `file:` reference made absolute."""
    reference = _REFERENCE.fullmatch(value)
    if reference is None or reference["env"]:
        return value
    return f"{reference['before']}file:{(directory / reference['name']).resolve()}"


def is_reference(text: str) -> bool:
    """Whether a text says where a secret is, instead of being one."""
    return _REFERENCE.fullmatch(text) is not None


def reference_in(text: str) -> str | None:
    """`env:NAME` or `file:PATH`, without a scheme before it; None where a text refers to nothing."""
    reference = _REFERENCE.fullmatch(text)
    return None if reference is None else text.removeprefix(reference["before"])


def file_of(text: str) -> tuple[str, str] | None:
    """What stands before the secret and the file it is in, where a text refers to a file."""
    reference = _REFERENCE.fullmatch(text)
    return None if reference is None or reference["env"] else (reference["before"], reference["name"])


def resolve_secret(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The header value a text stands for: itself, or with its `env:NAME` or `file:PATH` end replaced.

    The name of a scheme may come before the reference: `Bearer env:API_KEY`.
    Raises UsageError, which never shows a value.
    """
    if text == REDACTED:
        raise UsageError("a header of this profile was redacted when it was written", hint="Give it as env:NAME.")
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return text
    read = _from_environment if reference["env"] else _from_file
    value = read(reference["name"], environment)
    if not value or not value.isprintable():
        raise UsageError(f"{text.removeprefix(reference['before'])} does not hold one line of text")
    return reference["before"] + value


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise UsageError(f"the environment variable {name} is not set", hint=f"Set {name} before the run.")
    return environment[name]


def _from_file(name: str, _: Mapping[str, str]) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        hint = "A file: reference is relative to the profile's folder."
        raise UsageError(f"the secret's file {name} cannot be read: {why}", hint=hint) from None


def names_a_secret(name: str) -> bool:
    """Whether a value of that name is likely one: of a query, a command's option, an environment variable."""
    word = _joined(name)
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return (
        word in _SECRET_NAMES
        or word.endswith(_SECRET_SUFFIXES)
        or word in _SECRET_LAST_WORDS
        or bool(words and words[-1].casefold() in _SECRET_LAST_WORDS)
    )


def is_token(text: str) -> bool:
    """Whether a text has the form of a service's access token, whatever its name."""
    return _TOKEN.fullmatch(text) is not None


def is_secret_in_body(key: str, value: object) -> bool:
    """Whether a value of a request's body is likely a secret, by its key or by its form. Only text can be one."""
    if not isinstance(value, str) or value in ("", REDACTED) or is_placeholder(value):
        return False
    return is_token(value) or (names_a_secret(key) and _joined(key) not in _HARMLESS_BODY_KEYS)


def is_placeholder(text: str) -> bool:
    """Whether a template's text is filled in from a dataset, like {{column}}."""
    return text.startswith("{{") and text.endswith("}}")


def _joined(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def refuse_secrets_in_url(url: str) -> None:
    """Raises BadValueError, which does not show the URL."""
    parts = urlsplit(url)
    hint = "Give it in target.headers as env:NAME or file:PATH."
    if "@" in parts.netloc:
        raise BadValueError("the URL holds a user or a password", hint=hint)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if names_a_secret(name) or is_token(value):
            raise BadValueError(f"the URL's query holds a secret: {name}=…", hint=hint)
