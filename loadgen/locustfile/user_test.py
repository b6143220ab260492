"""Load a user's Locust test as the `locust` command does."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any

import locust
import msgspec
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from loadgen.protocols.prepared import WorkloadError
from loadgen.records import Endpoint
from loadgen.workloads import LocustWorkload

_CLOSED_LOOP_NOTE = (
    "the Locust test runs as a closed loop with Locust's own clients, so the scheduled send times and the first byte "
    "times of its requests are unknown"
)


class LocustTest(msgspec.Struct, frozen=True):
    """Loaded Locust test. `names` are the names of the user classes. `hosts` are the distinct hosts
    to which the users send requests. `notes` are sentences for the result."""

    environment: Environment
    names: tuple[str, ...]
    hosts: tuple[str, ...]
    notes: tuple[str, ...]


def load_locust_test(workload: LocustWorkload, endpoint: Endpoint) -> LocustTest:
    """Load a Locust test and fire Locust's `init` event. Raises WorkloadError if the test cannot be
    loaded."""
    path = Path(workload.file).resolve()
    classes_in_file, shapes = _load_file(path)
    classes = _select_classes(classes_in_file, workload.user_classes, path.name)
    host = endpoint.urls[0] if endpoint.urls else None
    options = _parse_options(path, host)
    try:
        environment = Environment(
            user_classes=list(classes.values()),
            events=locust.events,
            host=host,
            locustfile=path.name,
            tags=options.tags,
            exclude_tags=options.exclude_tags,
            parsed_options=options,
        )
    except ValueError as error:
        raise WorkloadError(f"Locust cannot run {path.name}: {error}") from error
    environment.create_local_runner()
    events: Any = environment.events  # Locust has no types for it
    events.init.fire(environment=environment, runner=environment.runner, web_ui=None)
    hosts = (
        (host,)
        if host is not None
        else tuple(dict.fromkeys(user_class.host for user_class in classes.values() if user_class.host))
    )
    shape_notes = [
        f"{type(shape).__name__} in {path.name} is ignored, because the stages set the number of users"
        for shape in shapes
    ]
    return LocustTest(environment, tuple(classes), hosts, (_CLOSED_LOOP_NOTE, *shape_notes))


def _load_file(path: Path) -> tuple[dict[str, type[locust.User]], list[locust.LoadTestShape]]:
    if not path.is_file():
        raise WorkloadError(f"the Locust test {path} does not exist")
    try:
        classes_and_shapes: tuple[dict[str, type[locust.User]], list[locust.LoadTestShape]] = load_locustfile(str(path))
    except SyntaxError as error:
        raise WorkloadError(f"{Path(error.filename or path).name}, line {error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise WorkloadError(
            f"{path.name} imports the module {error.name}, which is not installed",
            hint=f"Install its package in Sizewise's environment: {sys.executable} -m pip install PACKAGE",
        ) from error
    except SystemExit as error:
        raise WorkloadError(f"{path.name} exits the process during import") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        line_numbers = [frame.lineno for frame in frames if frame.filename == str(path)]
        location = f"{path.name}, line {line_numbers[-1]}" if line_numbers else path.name
        raise WorkloadError(f"{location}: {type(error).__name__}: {error}") from error
    return classes_and_shapes


def _select_classes(
    classes_in_file: dict[str, type[locust.User]], names: tuple[str, ...], file_name: str
) -> dict[str, type[locust.User]]:
    if not classes_in_file:
        raise WorkloadError(f"{file_name} has no user class", hint="Define a subclass of HttpUser or User.")
    unknown_names = [name for name in names if name not in classes_in_file]
    if unknown_names:
        raise WorkloadError(
            f"{file_name} has no user class {unknown_names[0]}", hint=f"Use one of {', '.join(classes_in_file)}."
        )
    return {name: classes_in_file[name] for name in names} if names else classes_in_file


def _parse_options(path: Path, host: str | None) -> Namespace:
    """Return the options that Locust's own command-line parser returns.

    Custom arguments of the test take their values from environment variables or their defaults.
    Raises WorkloadError if a required argument has neither.
    """
    arguments = ["--locustfile", str(path), "--headless", *(["--host", host] if host is not None else [])]
    parser = get_parser(default_config_files=[])
    with Path(os.devnull).open("w") as devnull, contextlib.redirect_stderr(devnull):
        try:
            options: Namespace = parser.parse_args(args=arguments)
        except SystemExit as error:
            raise WorkloadError(
                f"{path.name} requires custom arguments that have no default",
                hint="Set their environment variables, or define defaults in the test.",
            ) from error
    return options
