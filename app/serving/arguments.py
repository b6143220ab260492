"""Command-line arguments of the endpoint: parsed by it, and written for a child process."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from app.errors import UsageError
from app.serving.settings import DEFAULT_CONNECTIONS, ConnectionLimits, ServingSettings

_DELAY_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)")
_UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_DELAY_S = 60.0
_MAX_VALUES = {"max_batch": 4096, "queue_limit": 100_000}


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the endpoint to a parser."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx file")
    parser.add_argument("--name", help="the model's name in URLs (default: the file's)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--provider", default="cpu", help="execution provider (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="cores of one inference (default: %(default)s)")
    parser.add_argument("--max-batch", type=int, default=8, help="rows of one inference (default: %(default)s)")
    parser.add_argument(
        "--queue-delay", default="2ms", help="how long a row may wait for others to join it (default: %(default)s)"
    )
    parser.add_argument(
        "--queue-limit", type=int, default=128, help="requests that may wait; more get 429 (default: %(default)s)"
    )
    parser.add_argument(
        "--max-connections", type=int, default=DEFAULT_CONNECTIONS,
        help="connections open at once; more get 503 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--leave-with-stdin", action="store_true", help="drain and leave when standard input ends")


def parse_settings(arguments: argparse.Namespace) -> ServingSettings:
    """Convert parsed arguments to settings. Raises UsageError for an invalid value."""
    for option in ("threads", "max_batch", "queue_limit", "max_connections"):
        if getattr(arguments, option) < 1:
            raise UsageError(f"--{option.replace('_', '-')} is at least 1")
    for option, limit in _MAX_VALUES.items():
        if getattr(arguments, option) > limit:
            raise UsageError(f"--{option.replace('_', '-')} is at most {limit:,}")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"{arguments.port} is not a port", hint="Ports go to 65535; 0 takes a free one.")
    return ServingSettings(
        model=arguments.model,
        name=model_name(arguments.model) if arguments.name is None else _checked_name(arguments.name),
        host=arguments.host,
        port=arguments.port,
        provider=arguments.provider,
        threads=arguments.threads,
        max_batch=arguments.max_batch,
        queue_delay_s=_parse_delay_s(arguments.queue_delay),
        queue_limit=arguments.queue_limit,
        leave_with_stdin=arguments.leave_with_stdin,
        limits=ConnectionLimits(connections=arguments.max_connections),
    )


def format_arguments(settings: ServingSettings) -> list[str]:
    """Return command-line arguments that parse to these settings."""
    line = [
        f"--name={settings.name}",
        f"--host={settings.host}",
        f"--port={settings.port}",
        f"--provider={settings.provider}",
        f"--threads={settings.threads}",
        f"--max-batch={settings.max_batch}",
        f"--queue-delay={settings.queue_delay_s * 1e6:.3f}us",
        f"--queue-limit={settings.queue_limit}",
        f"--max-connections={settings.limits.connections}",
    ]
    if settings.leave_with_stdin:
        line.append("--leave-with-stdin")
    return [*line, "--", settings.model]


def model_name(model: str) -> str:
    """Return the file's stem, with characters replaced that would need quoting in a URL."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem).lstrip("._-") or "model"


def _checked_name(name: str) -> str:
    if not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a model", hint="Use letters, digits, '.', '_' and '-'.")
    return name


def _parse_delay_s(text: str) -> float:
    match = _DELAY_PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a queue delay", hint="Write it like 2ms, 500us or 0s.")
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds > _MAX_DELAY_S:
        raise UsageError(f"a queue delay of {text} would stop the endpoint", hint=f"Use at most {_MAX_DELAY_S:g}s.")
    return seconds
