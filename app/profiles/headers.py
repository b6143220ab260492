"""Headers and environments that may hold secrets: checked, and written back without them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

from app.profiles import secrets
from app.profiles.problems import BadValueError
from app.profiles.settings import profile_directory

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_REFERENCES = "Write env:NAME, or file:PATH for a file that holds it."


def _read_headers(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not the name of a header")
        if not isinstance(text, str) or not text.isprintable():
            raise BadValueError(f"header {name} must be one line of text", hint="Put numbers between quotes.")
    return {name: secrets.anchor(text, profile_directory(info)) for name, text in value.items()}


def _redact_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: secrets.redact(name, value) for name, value in headers.items()}


def _read_key(value: object, info: ValidationInfo) -> object:
    if value is None or value == secrets.REDACTED:
        return value
    if not isinstance(value, str) or not secrets.is_reference(value) or value.startswith(("Bearer", "Basic")):
        raise BadValueError("api_key must say where the key is, not what it is", hint=_REFERENCES)
    return secrets.anchor(value, profile_directory(info))


def _read_variables(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        return value
    for name, text in value.items():
        if _VARIABLE_NAME.fullmatch(name) is None:
            raise BadValueError(f"{name!r} is not the name of an environment variable")
        if not isinstance(text, str) or "\0" in text:
            raise BadValueError(f"variable {name} must be text", hint="Put numbers between quotes.")
        if secrets.names_a_secret(name) and not secrets.is_reference(text):
            raise BadValueError(f"variable {name} looks like a secret, and a profile holds none", hint=_REFERENCES)
    return {name: secrets.anchor(text, profile_directory(info)) for name, text in value.items()}


Headers = Annotated[dict[str, str], BeforeValidator(_read_headers), PlainSerializer(_redact_headers)]
ApiKey = Annotated[str, BeforeValidator(_read_key)]
Variables = Annotated[dict[str, str], BeforeValidator(_read_variables)]
