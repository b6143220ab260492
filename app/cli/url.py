"""Options of `run` that measure a URL without a profile file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from app.cli.commands import PATH, CommandOption
from app.cli.options import refuse_options
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
            [f"--{option.name}"],
            elsewhere=option.synonyms,
            metavar="URL",
            section=_SECTION,
            help=option.help,
            expose_value=False,
            callback=_add_url,
        )
        if protocol.api_choice is not None:
            yield CommandOption(
                ["--api"],
                type=click.Choice([*_OPENAI_APIS]),
                section=_SECTION,
                help=f"API of the server that --{option.name} names (default: {protocol.api_choice})",
            )


def _add_url(context: click.Context, parameter: click.Parameter, url: str | None) -> None:
    """Add the value of a protocol's option to `UrlOptions.urls`."""
    urls = context.params.setdefault("urls", {})
    if url is not None:
        urls[parameter.name] = url


class UrlOptions(NamedTuple):
    """Values of `URL_OPTIONS`. `urls` are by the option of their protocol."""

    urls: Mapping[str, str]
    api: str | None
    model: str | None
    api_key: str | None
    headers: tuple[str, ...]
    method: str | None
    data: str | None
    input_tokens: str | None
    output_tokens: str | None
    rate: str | None
    concurrency: str | None
    duration: str | None
    requests: int | None
    trace: Path | None
    warmup: str | None
    slo: tuple[str, ...]
    is_insecure: bool
    max_duration: str | None
    permitted: bool
    save: Path | None

    def by_option(self) -> dict[str, object]:
        """Return the values by the names of `URL_OPTIONS`."""
        return dict.fromkeys(_URL_PROTOCOLS) | self._asdict() | dict(self.urls)


class UrlProfile(NamedTuple):
    """Profile of a URL, and the text that `save_profile` writes."""

    profile: Profile
    text: str


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


def is_url(argument: str | None, options: UrlOptions) -> bool:
    """Return whether the argument or the options name a URL to measure."""
    return bool(options.urls) or (argument or "").casefold().startswith((*_SCHEMES, *_GRPC_SCHEMES))


def load_url_profile(argument: str | None, options: UrlOptions, overrides: Sequence[str]) -> UrlProfile:
    """Build and check the profile of the URL that the argument or the options name, and check that
    it can be written to --save. Raises UsageError."""
    import msgspec

    from app.profiles.editing import format_profile
    from app.profiles.loading import load_profile_tree
    from app.profiles.url_profile import UrlLoad, build_url_tree, parse_list
    from app.wiring.served_models import find_served_model

    target = _build_target(argument, options)
    load = UrlLoad(
        rates=parse_list(options.rate or ""),
        concurrency=tuple(map(_parse_concurrency, parse_list(options.concurrency or ""))),
        duration=options.duration,
        requests=options.requests,
        warmup=options.warmup,
        max_duration=options.max_duration,
        slo=options.slo,
        trace=None if options.trace is None else str(options.trace.absolute()),
    )
    if target.model is None and get_protocol(target.protocol).has_model:
        unnamed = build_url_tree(msgspec.structs.replace(target, model="unknown"), load)
        load_profile_tree(unnamed, "the command line", overrides)  # checked before the server is queried
        target = msgspec.structs.replace(target, model=find_served_model(target))
    tree = build_url_tree(target, load)
    profile = load_profile_tree(tree, "the command line", overrides)  # also applies the overrides to the tree
    text = format_profile(tree)
    if options.save is not None:
        _check_saved_text(options.save, text)
    return UrlProfile(profile, text)


def _build_target(argument: str | None, options: UrlOptions) -> UrlTarget:
    from app.profiles.templates import recognize_request
    from app.profiles.url_profile import UrlTarget, list_url_options

    model = options.model
    if len(options.urls) + (argument is not None) > 1:
        raise UsageError("more than one target is specified", hint="Specify one URL, or one profile.")
    if argument is None:
        option, url = next(iter(options.urls.items()))
        protocol = _URL_PROTOCOLS[option]
        protocols = _OPENAI_APIS if option == "openai" else {option: protocol}
        if option == "openai" and options.api is not None:
            protocol = _OPENAI_APIS[options.api]
            protocols = {options.api: protocol}
    else:
        scheme, separator, address = argument.partition("://")
        url = f"{scheme.casefold()}{separator}{address}"
        protocol = get_default_protocol("grpc" if url.startswith(_GRPC_SCHEMES) else "http").id
        protocols = _OPENAI_APIS | _URL_PROTOCOLS if options.data is None and options.method is None else {}
    recognized = recognize_request(url)
    if recognized is not None and recognized[0] in protocols.values():
        protocol, url = next(known for known in protocols.values() if known == recognized[0]), recognized[1]
        model = model or recognized[2]
    if options.api is not None and "openai" not in options.urls:
        raise UsageError("--api requires --openai", hint="Add --openai URL, or remove --api.")
    has_model = get_protocol(protocol).has_model
    if model is not None and not has_model:
        raise UsageError(f"--model requires {list_url_options()}", hint="Plain HTTP has no model name.")
    if has_model:
        http_options = [row for row in URL_OPTIONS if row.name in ("method", "data")]
        hint = "Remove it; the protocol defines the requests."
        refuse_options(http_options, options.by_option(), "is only for plain HTTP", hint)
    return UrlTarget(
        url=url,
        protocol=protocol,
        model=model,
        api_key=options.api_key,
        headers=options.headers,
        method=options.method,
        data=options.data,
        input_tokens=options.input_tokens,
        output_tokens=options.output_tokens,
        is_permitted=options.permitted,
        verifies_certificate=not options.is_insecure,
    )


def _parse_concurrency(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise UsageError(f"--concurrency: {text!r} is not a number of clients", hint="Use numbers such as 16 or 1,2,4.")
    return int(text)


def _check_saved_text(path: Path, text: str) -> None:
    """Raise UsageError if the text of a profile may not or cannot be written to the path."""
    from app.profiles.redaction import find_secret_keys

    if secret_keys := find_secret_keys(text):
        hint = "Write its value as env:NAME or file:PATH, or add it to the saved profile yourself."
        raise UsageError(f"--save: {secret_keys[0]} may be a secret, which is not written to a file", hint=hint)
    if path.exists():
        raise UsageError(f"{path} already exists", hint=_OTHER_FILE_HINT)
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: its folder does not exist")


def save_profile(path: Path, text: str) -> None:
    """Write the profile of `load_url_profile` to --save. Prints a warning if the file cannot be
    written: the run has been measured and stored."""
    try:
        write_new_profile(path, text)
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
