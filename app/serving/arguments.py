"""Command-line arguments of the endpoint: parse them to settings, and format settings as arguments
for a child process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import click

from app.errors import UsageError
from app.serving.settings import DEFAULT_MAX_CONNECTIONS, ConnectionLimits, ServingSettings

_DELAY_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")
_UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_DELAY_S = 60.0
_MAX_VALUES = {"max_batch": 4096, "queue_limit": 100_000}


PARAMETERS: tuple[click.Parameter, ...] = (
    click.Argument(["model"], help="path of an .onnx file, or of the folder of a language model"),
    click.Option(["--name"], help="name of the model in requests (default: derived from the path)"),
    click.Option(["--host"], default="127.0.0.1", show_default=True, help="address to listen on"),
    click.Option(["--port"], type=int, default=0, help="port to listen on (default: any free port)"),
    click.Option(["--provider"], default="cpu", show_default=True, help="execution provider"),
    click.Option(["--threads"], type=int, default=1, show_default=True, help="CPU threads per inference"),
    click.Option(
        ["--max-batch"],
        type=int,
        help="maximum rows, or requests to a language model, in a batch (default: 8, or the limit in the "
        "configuration of a language model with a paged KV cache)",
    ),
    click.Option(
        ["--queue-delay"],
        help="maximum time that a request waits for more requests to form a batch, for an .onnx file (default: 2ms)",
    ),
    click.Option(
        ["--queue-limit"],
        type=int,
        default=128,
        show_default=True,
        help="maximum number of queued requests; further requests get status 429",
    ),
    click.Option(
        ["--max-connections"],
        type=int,
        default=DEFAULT_MAX_CONNECTIONS,
        show_default=True,
        help="maximum number of open connections; further connections get status 503",
    ),
    click.Option(["--exit-with-stdin"], is_flag=True, help="drain and exit when standard input closes"),
)
"""Command-line arguments and options of the endpoint."""


class ServingOptions(NamedTuple):
    """Values of `PARAMETERS`."""

    model: str
    name: str | None
    host: str
    port: int
    provider: str
    threads: int
    max_batch: int | None
    queue_delay: str | None
    queue_limit: int
    max_connections: int
    exit_with_stdin: bool


def parse_settings(arguments: ServingOptions) -> ServingSettings:
    """Convert parsed arguments to settings. Raises UsageError for an invalid value."""
    for option in ("threads", "max_batch", "queue_limit", "max_connections"):
        if (value := getattr(arguments, option)) is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')} must be at least 1")
    for option, limit in _MAX_VALUES.items():
        if (value := getattr(arguments, option)) is not None and value > limit:
            raise UsageError(f"--{option.replace('_', '-')} must be at most {limit:,}")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(
            f"{arguments.port} is not a valid port", hint="Use a port up to 65535, or 0 for any free port."
        )
    return ServingSettings(
        model=arguments.model,
        name=derive_model_name(arguments.model) if arguments.name is None else _check_name(arguments.name),
        host=arguments.host,
        port=arguments.port,
        provider=arguments.provider,
        threads=arguments.threads,
        max_batch=arguments.max_batch,
        queue_delay_s=None if arguments.queue_delay is None else _parse_delay_s(arguments.queue_delay),
        queue_limit=arguments.queue_limit,
        exit_with_stdin=arguments.exit_with_stdin,
        limits=ConnectionLimits(max_connections=arguments.max_connections),
    )


def format_arguments(settings: ServingSettings) -> list[str]:
    """Return the command-line arguments from which `parse_settings` restores these settings."""
    arguments = [
        f"--name={settings.name}",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--provider={settings.provider}",
        f"--threads={settings.threads}",
        f"--queue-limit={settings.queue_limit}",
        f"--max-connections={settings.limits.max_connections}",
    ]
    if settings.max_batch is not None:
        arguments.append(f"--max-batch={settings.max_batch}")
    if settings.queue_delay_s is not None:
        arguments.append(f"--queue-delay={settings.queue_delay_s * 1e6:.3f}us")
    if settings.exit_with_stdin:
        arguments.append("--exit-with-stdin")
    return [*arguments, "--", settings.model]


def derive_model_name(model: str) -> str:
    """Return the name of the folder, or the stem of the file name, as a model name, with characters
    replaced that would have to be escaped in a URL."""
    path = Path(model)
    name = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or "model"


def _check_name(name: str) -> str:
    if not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid model name", hint="Use letters, digits, '.', '_' and '-'.")
    return name


def _parse_delay_s(text: str) -> float:
    match = _DELAY_PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a valid queue delay", hint="Use a value such as 2ms, 500us or 0s.")
    delay_s = float(match[1]) * _UNIT_SECONDS[match[2]]
    if delay_s > _MAX_DELAY_S:
        raise UsageError(f"a queue delay of {text} is too long", hint=f"Use at most {_MAX_DELAY_S:g}s.")
    return delay_s
