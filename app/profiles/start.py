"""A target's own server, which the run starts before it measures and stops afterwards."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo

from app.profiles import secrets
from app.profiles.headers import Variables
from app.profiles.problems import BadValueError
from app.profiles.settings import Listed, Settings, SomeSeconds, files_must_exist, profile_directory
from app.profiles.urls import ReadyUrl


def _read_command(value: object) -> object:
    """A list, or text cut into words as a shell does; no shell ever sees it."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise BadValueError(f"the command cannot be cut into words: {error}") from error
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) and word for word in value):
        raise BadValueError("a command is text, or a list of texts", hint="Put numbers between quotes.")
    for word, following in zip(value, [*value[1:], ""], strict=True):
        option, equals, given = word.partition("=")
        if word.startswith("-") and secrets.names_a_secret(option) and (given if equals else following[:1] not in "-"):
            hint = "Give the server its secret in target.start.env as env:NAME, or let it read a file."
            raise BadValueError(f"the command seems to hold a secret: {option}", hint=hint)
    return tuple(value)


def _read_directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a folder")
    path = (profile_directory(info) / value).resolve()
    if not path.is_dir() and files_must_exist(info):
        raise BadValueError(f"no such folder: {path}", hint="Paths are relative to the profile's folder.")
    return path


class StartSettings(Settings):
    """Ready when `ready`, a URL or a path on the target's host, answers with 2xx. `env` is added to our own."""

    command: Annotated[Listed[str], BeforeValidator(_read_command)] = Field(examples=[["python server.py --port 8000"]])
    """The command that starts the server, as text; no shell sees it, like python server.py --port 8000."""
    ready: ReadyUrl = Field(examples=["/health"])
    """A URL or path that answers with 2xx once the server is ready, like /health."""
    timeout_s: SomeSeconds = Field(default=120.0, alias="timeout", examples=["120s"])
    """How long is waited for it, like 120s."""
    directory: Annotated[Path, BeforeValidator(_read_directory), PlainSerializer(str)] = Field(
        default="./", validate_default=True
    )
    """The folder it is started in."""
    env: Variables = Field(default_factory=dict)
    """Environment variables for it; secrets as env:NAME."""
