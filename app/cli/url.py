"""Options of `run` that measure a URL without a profile file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.commands import PATH, Arguments, CommandOption
from app.cli.options import refuse_options
from app.cli.secret_consent import allow_command_line
from app.cli.streams import warn
from app.errors import UsageError
from app.records.protocols import PROTOCOLS, get_default_protocol, get_protocol

if TYPE_CHECKING:
    from app.profiles.profile import Profile
    from app.profiles.url_profile import UrlTarget

_SCHEMES = ("http://", "https://")
_GRPC_SCHEMES = ("grpc://", "grpcs://")
_URL_PROTOCOLS = {row.url_option.name: row.id for row in PROTOCOLS if row.url_option is not None}
"""Protocol of each option whose value is a URL."""
_OPENAI_APIS = {row.api_choice: row.id for row in PROTOCOLS if row.api_choice is not None}
_SECTION = "A URL instead of a profile"
_OTHER_FILE_HINT = "Choose another file, or remove this one."


def _list_protocol_options() -> Iterator[CommandOption]:
    """Yield one option per protocol with a URL option, and the choice between the APIs of OpenAI after its own."""
    for protocol in PROTOCOLS:
        option = protocol.url_option
        if option is None:
            continue
        yield CommandOption(
            [f"--{option.name}"], elsewhere=option.synonyms, metavar="URL", section=_SECTION, help=option.help
        )
        if protocol.api_choice is not None:
            yield CommandOption(
                ["--api"],
                type=click.Choice([*_OPENAI_APIS]),
                section=_SECTION,
                help=f"API of the server that --{option.name} names (default: {protocol.api_choice})",
            )


URL_OPTIONS: tuple[CommandOption, ...] = (
    *_list_protocol_options(),
    CommandOption(
        ["--model"], metavar="NAME", section=_SECTION, help="name of the model (default: the only one that is served)"
    ),
    CommandOption(["--api-key"], metavar="REFERENCE", section=_SECTION, help="env:NAME or file:PATH of the key"),
    CommandOption(
        ["-H", "--header", "headers"],
        multiple=True,
        metavar="'NAME: VALUE'",
        section=_SECTION,
        help="header of each request; repeatable; write a secret as env:NAME or file:PATH",
    ),
    CommandOption(
        ["-X", "--request", "method"],
        elsewhere=("--method", "-m"),
        metavar="METHOD",
        section=_SECTION,
        help="HTTP method (default: POST with --data, otherwise GET)",
    ),
    CommandOption(["-d", "--data"], metavar="BODY", section=_SECTION, help="body of each request, or @FILE"),
    CommandOption(
        ["--input-tokens"],
        elsewhere=("--input-len", "--random-input-len", "--isl", "--prompt-tokens", "--synthetic-input-tokens-mean"),
        metavar="N",
        section=_SECTION,
        help="prompt length in tokens, or a distribution as in a profile (default: 512)",
    ),
    CommandOption(
        ["--output-tokens"],
        elsewhere=("--output-len", "--random-output-len", "--osl", "--output-tokens-mean"),
        metavar="N",
        section=_SECTION,
        help="response length in tokens (default: 128)",
    ),
    CommandOption(
        ["--rate"],
        elsewhere=("--rps", "--qps", "--request-rate", "-r"),
        metavar="RATE",
        section=_SECTION,
        help="requests per second, like 200/s; several, as in 50/s,100/s",
    ),
    CommandOption(
        ["--concurrency"],
        elsewhere=("-c", "--max-concurrency", "--connections", "-u", "--vus", "--clients"),
        metavar="N",
        section=_SECTION,
        help="number of requests in flight, each sent after the previous response; several, as in 1,2,4,8; with "
        "neither --rate nor --concurrency, the highest rate within --slo is searched, or without an SLO, 1 is used",
    ),
    CommandOption(
        ["--duration"],
        elsewhere=("-t", "-z", "--time", "--run-time", "--max-seconds", "--benchmark-duration"),
        metavar="TIME",
        section=_SECTION,
        help="duration of each load, like 30s (default: 10s; 1m for a Locust test)",
    ),
    CommandOption(
        ["--requests"],
        elsewhere=("-n", "--num-prompts", "--num-requests", "--request-count", "--max-requests", "--iterations"),
        type=click.IntRange(min=1),
        metavar="N",
        section=_SECTION,
        help="number of requests after which each load ends; concurrency without --duration ends after 10 minutes",
    ),
    CommandOption(
        ["--trace"],
        type=PATH,
        metavar="FILE",
        section=_SECTION,
        help="replay a request trace at its recorded times; with --openai also its prompt and response lengths, and "
        "the prefixes that its prompts share",
    ),
    CommandOption(
        ["--warmup"],
        elsewhere=("--warm-up", "--warmup-duration"),
        metavar="TIME",
        section=_SECTION,
        help="warm-up before the first load (default: 2s; none if the prompts of a trace are replayed)",
    ),
    CommandOption(
        ["--slo"],
        multiple=True,
        metavar="OBJECTIVE",
        section=_SECTION,
        help="like 'p95 < 50ms' or 'error_rate < 1%'; repeatable",
    ),
    CommandOption(
        ["-k", "--insecure", "is_insecure"],
        elsewhere=("--no-check-certificate", "--skip-tls-verify", "--insecure-skip-tls-verify"),
        is_flag=True,
        section=_SECTION,
        help="accept any TLS certificate of the server, as tls.verify: false in a profile",
    ),
    CommandOption(
        ["--max-duration"],
        metavar="TIME",
        section=_SECTION,
        help="time limit of the search for the highest rate within --slo (default: 5m)",
    ),
    CommandOption(
        ["--permitted"],
        is_flag=True,
        section=_SECTION,
        help="confirm that you may load-test this host; required for public hosts",
    ),
    CommandOption(
        ["--save"],
        type=PATH,
        metavar="FILE.yaml",
        section=_SECTION,
        help="also write the profile of this run to a file, once something was measured",
    ),
)


def is_url(arguments: Arguments) -> bool:
    """Return whether the arguments name a URL to measure."""
    is_positional = (arguments.profile or "").casefold().startswith((*_SCHEMES, *_GRPC_SCHEMES))
    return is_positional or any(getattr(arguments, option) is not None for option in _URL_PROTOCOLS)


def load_url_profile(arguments: Arguments, overrides: list[str]) -> Profile:
    """Build and check the profile of the URL that the arguments name, and check that it can be
    written to --save. `save_profile` writes it.

    The secrets that the arguments name may be sent to the hosts that they name. Raises UsageError.
    """
    import msgspec

    from app.profiles.editing import format_profile
    from app.profiles.loading import load_profile_tree
    from app.profiles.url_profile import UrlLoad, build_url_tree, parse_list
    from app.wiring.served_models import find_served_model

    target = _build_target(arguments)
    load = UrlLoad(
        rates=parse_list(arguments.rate or ""),
        concurrency=tuple(map(_parse_concurrency, parse_list(arguments.concurrency or ""))),
        duration=arguments.duration,
        requests=arguments.requests,
        warmup=arguments.warmup,
        max_duration=arguments.max_duration,
        slo=tuple(arguments.slo),
        trace=None if arguments.trace is None else str(arguments.trace.absolute()),
    )
    if target.model is None and get_protocol(target.protocol).has_model:
        unnamed = build_url_tree(msgspec.structs.replace(target, model="unknown"), load)
        load_profile_tree(unnamed, "the command line", overrides)  # checked before the server is queried
        target = msgspec.structs.replace(target, model=find_served_model(target))
    tree = build_url_tree(target, load)
    profile = load_profile_tree(tree, "the command line", overrides)  # also applies the overrides to the tree
    if arguments.save is not None:
        arguments.saved_text = _check_saved_text(arguments.save, format_profile(tree))
    allow_command_line(profile, arguments)
    return profile


def _build_target(arguments: Arguments) -> UrlTarget:
    from app.profiles.templates import recognize_request
    from app.profiles.url_profile import UrlTarget, list_url_options

    model = arguments.model
    urls = {option: url for option in _URL_PROTOCOLS if (url := getattr(arguments, option)) is not None}
    if len(urls) + (arguments.profile is not None) > 1:
        raise UsageError("more than one target is specified", hint="Specify one URL, or one profile.")
    if urls:
        option, url = next(iter(urls.items()))
        protocol = _URL_PROTOCOLS[option]
        protocols = _OPENAI_APIS if option == "openai" else {option: protocol}
        if option == "openai" and arguments.api is not None:
            protocol = _OPENAI_APIS[arguments.api]
            protocols = {arguments.api: protocol}
    else:
        scheme, separator, address = arguments.profile.partition("://")
        url = f"{scheme.casefold()}{separator}{address}"
        protocol = get_default_protocol("grpc" if url.startswith(_GRPC_SCHEMES) else "http").id
        protocols = _OPENAI_APIS | _URL_PROTOCOLS if arguments.data is None and arguments.method is None else {}
    recognized = recognize_request(url)
    if recognized is not None and recognized[0] in protocols.values():
        protocol, url = next(known for known in protocols.values() if known == recognized[0]), recognized[1]
        model = model or recognized[2]
    if arguments.api is not None and arguments.openai is None:
        raise UsageError("--api requires --openai", hint="Add --openai URL, or remove --api.")
    has_model = get_protocol(protocol).has_model
    if model is not None and not has_model:
        raise UsageError(f"--model requires {list_url_options()}", hint="Plain HTTP has no model name.")
    if has_model:
        http_options = [option for option in URL_OPTIONS if option.name in ("method", "data")]
        refuse_options(
            http_options, vars(arguments), "is only for plain HTTP", "Remove it; the protocol defines the requests."
        )
    return UrlTarget(
        url=url,
        protocol=protocol,
        model=model,
        api_key=arguments.api_key,
        headers=tuple(arguments.headers),
        method=arguments.method,
        data=arguments.data,
        input_tokens=arguments.input_tokens,
        output_tokens=arguments.output_tokens,
        is_permitted=arguments.permitted,
        verifies_certificate=not arguments.is_insecure,
    )


def _parse_concurrency(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise UsageError(f"--concurrency: {text!r} is not a number of clients", hint="Use numbers such as 16 or 1,2,4.")
    return int(text)


def _check_saved_text(path: Path, text: str) -> str:
    """Return the text of a profile that may be written to the path. Raises UsageError otherwise."""
    from app.profiles.redaction import find_secret_keys

    if secret_keys := find_secret_keys(text):
        hint = "Write its value as env:NAME or file:PATH, or add it to the saved profile yourself."
        raise UsageError(f"--save: {secret_keys[0]} may be a secret, which is not written to a file", hint=hint)
    if path.exists():
        raise UsageError(f"{path} already exists", hint=_OTHER_FILE_HINT)
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: its folder does not exist")
    return text


def save_profile(arguments: Arguments) -> None:
    """Write the profile of `load_url_profile` to --save, if the option is set. Prints a warning if
    the file cannot be written: the run has been measured and stored."""
    if arguments.save is None:
        return
    try:
        write_new_profile(arguments.save, arguments.saved_text)
    except UsageError as error:
        warn(f"the profile was not saved: {error}")


def write_new_profile(path: Path, text: str) -> None:
    """Write a profile to a file that does not exist yet. Raises UsageError if the file exists or
    cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint=_OTHER_FILE_HINT) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
