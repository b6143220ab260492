"""The options of a load that several workers share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.wiring.workers import RemoteWorkers

_MOST = 1_000  # as app.profiles.workers has it, whose import would cost more than a command line may


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_workers, metavar="N",
                        help="how many processes send (default auto: one for each core to spare)")  # fmt: skip


def add_remote_arguments(parser: argparse.ArgumentParser) -> None:
    others = parser.add_argument_group("workers on other machines, where `sizewise worker` starts them")
    others.add_argument("--remote-workers", type=worker_count, metavar="N", help="wait for so many, and share the load")
    others.add_argument("--bind", metavar="HOST:PORT", help="where they find this run")
    add_token_argument(others)


def add_token_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--token", metavar="PLACE",
                        help="env:NAME or file:PATH of the secret that a run and its workers share "
                             "(default env:SIZEWISE_TOKEN)")  # fmt: skip


def workers_override(arguments: argparse.Namespace) -> list[str]:
    """`--workers` as the `--set` that it is short for."""
    return [] if arguments.workers is None else [f"load.workers={arguments.workers}"]


def remote_workers(arguments: argparse.Namespace) -> RemoteWorkers | None:
    """None where none are asked for. Raises UsageError for options that do not belong together."""
    asked, bind, token = arguments.remote_workers, arguments.bind, arguments.token
    if asked is None and bind is None and token is None:
        return None
    if bind is None:
        option = "--remote-workers" if token is None else "--token"
        raise UsageError(f"{option} needs --bind", hint="Say with --bind HOST:PORT where other machines find this run.")
    if asked is None:
        raise UsageError("--bind needs --remote-workers", hint="Say with --remote-workers N how many are to join.")

    from app.wiring.meeting import TOKEN, read_address, read_token, resolved
    from app.wiring.workers import RemoteWorkers

    address = read_address("--bind", bind)
    return RemoteWorkers(asked, resolved("--bind", address), read_token(token or TOKEN))


def worker_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST:,}")
    return int(text)


def so_many_workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _workers(text: str) -> str:
    return text if text == "auto" else str(worker_count(text))
