from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from app import __version__
from app.cli import doctor
from app.cli.colors import print_with_colors
from app.cli.commands import Command, CommandOption, build_group
from app.cli.main import main
from app.cli.url import UrlOptions, is_url, load_url_profile
from app.errors import ExitCode
from app.records.trial import Failure
from reports.marks import mark_status
from reports.shortening import shorten
from tests.fakes.command_line import iter_commands, parse

COMMANDS = (
    "quickstart", "run", "plan", "simulate", "report", "serve", "calibrate", "doctor", "models", "offers", "profiles",
    "runs", "worker",
)  # fmt: skip
HEAVY = ("pandas", "numpy", "pyarrow", "pydantic", "rich", "onnx", "onnxruntime", "locust", "altair", "psutil")


@pytest.mark.process
def test_version_option_imports_no_heavy_module() -> None:
    code = "import sys; from app.cli.main import main; main(['--version'])"
    watch = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{watch}; {code}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"sizewise {__version__}", "[]"]


@pytest.mark.parametrize("group", [[], ["runs"], ["profiles"], ["offers"], ["models"]])
def test_missing_command_is_a_usage_error_with_the_help(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(group) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"Usage: {' '.join(['sizewise', *group])} [OPTIONS] COMMAND" in shown.err


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["runn"], "unknown command 'runn'", "Did you mean run or runs?"),
        (["runs", "lst"], "unknown command 'lst'", "Did you mean list?"),
        (["run", "quickstart", "--durration", "3s"], "unknown option --durration", "Did you mean --duration"),
        (["frobnicate"], "unknown command 'frobnicate'", "Run `sizewise --help`."),
        (
            ["report", "last", "--recover=3"],
            "option '--recover' does not take a value",
            "Run `sizewise report --help`.",
        ),
        (["runs", "show"], "missing argument 'RUN'", "Run `sizewise runs show --help`."),
        (["report", "last", "--format", "docx"], "invalid value for '--format': 'docx' is not", "Run `sizewise report"),
        (["report", "a" * 3000], f"the file name '{shorten('a' * 3000)}' is too long", "Run `sizewise --help`"),
        (["run", "a" * 3000], f"the file name '{shorten('a' * 3000)}' is too long", "Run `sizewise --help`"),
    ],
)
def test_command_line_mistake_has_an_error_and_a_hint(
    argv: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--error-json"]) == ExitCode.USAGE
    shown, advice, encoded = capsys.readouterr().err.splitlines()
    assert shown.startswith(f"error: {error}")
    assert advice.startswith(f"hint: {hint}")
    assert msgspec.json.decode(encoded, type=Failure).exit_code == ExitCode.USAGE


def test_option_without_its_value_has_a_hint_with_the_syntax(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "last", "--class"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: option '--class' requires an argument",
        "hint: Write `--class NAME`. Run `sizewise explain --help`.",
    ]


def test_json_and_events_on_standard_output_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "quickstart"], ["quickstart"], ["runs", "resume", "last"]):
        assert main([*command, "--json", "--events", "-"]) == ExitCode.USAGE
        assert "--json and --events cannot be combined" in capsys.readouterr().err


def test_usage_error_is_printed_as_error_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "check", "quickstrat"]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: quickstrat is neither a file nor a bundled profile"
    assert hint == "hint: Did you mean 'quickstart'?"


def test_error_json_prints_the_failure_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--error-json", "profiles", "check", "quick\x1bstrat"])
    *_, line = capsys.readouterr().err.splitlines()
    failure = msgspec.json.decode(line, type=Failure)
    assert failure.message == "quick\\u001bstrat is neither a file nor a bundled profile"
    assert (failure.exit_code, failure.hint) == (ExitCode.USAGE, "Did you mean 'quickstart'?")


def test_debug_option_prints_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", "show", "no-such-run", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("limit", "command", "error"),
    [
        (7, "doctor", "error: the limit of open files was reached"),
        (10, "run local-model --out run", "could not be written: Too many open files"),
    ],
)
def test_too_low_open_file_limit_exits_with_a_hint(tmp_path: Path, limit: int, command: str, error: str) -> None:
    script = f"ulimit -n {limit}; exec {sys.executable} -P -m app {command}"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == ExitCode.LIMIT, done.stderr
    error_line, hint = done.stderr.splitlines()[-2:]
    assert error in error_line
    assert hint.startswith("hint: Raise the limit of open files: `ulimit -n 1024`")


@pytest.mark.parametrize(
    "argv",
    [["--color", "always", "doctor"], ["doctor", "--color", "always"], ["doctor", "--color=always"]],
)
def test_color_option_is_accepted_before_and_after_the_command(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute() -> int:
        print_with_colors(mark_status("PASS"))
        return 0

    monkeypatch.setattr(doctor.COMMAND, "callback", lambda **_: execute())
    assert main(argv) == 0
    assert capsys.readouterr().out == "\x1b[32mPASS\x1b[0m\n"
    assert main(["doctor", "--color", "never"]) == 0
    assert capsys.readouterr().out == "PASS\n"
    assert main(["doctor", "--color", "sometimes"]) == ExitCode.USAGE


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"sizewise {command}" in capsys.readouterr().out


def test_every_command_has_examples_that_can_be_parsed() -> None:
    for command in iter_commands():
        assert isinstance(command, Command)
        assert command.examples, command.name
        for example in command.examples:
            arguments = shlex.split(example.split("#")[0].split(" > ")[0])
            if arguments[0] == "sizewise":
                parse(arguments[1:])


def test_every_argument_and_option_has_help() -> None:
    for command in iter_commands():
        for parameter in command.params:
            record = parameter.get_help_record(click.Context(command))
            assert record is not None, (command.name, parameter.name)
            assert record[1], (command.name, parameter.name)


def test_bundled_profiles_are_listed_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert "quickstart" in listed
    for name in listed:
        assert main(["profiles", "check", name]) == 0
        assert main(["profiles", "show", name]) == 0


@pytest.mark.parametrize("seconds", ["0", "601", "soon"])
def test_quickstart_seconds_outside_bounds_are_a_usage_error(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--seconds", seconds]) == ExitCode.USAGE
    assert "--seconds" in capsys.readouterr().err


def test_help_lists_command_options_before_global_options() -> None:
    (serve,) = (command for command in iter_commands() if command.name == "serve")
    shown = serve.get_help(click.Context(serve))
    assert shown.index("--max-batch") < shown.index("Global options:") < shown.index("--help")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare a.yaml b.yaml --measure --json --output csv", "--json and --output csv cannot be combined"),
        ("compare a b --json --format html", "--json and --format cannot be combined"),
        ("compare a b --max-duration 5m", "--max-duration requires --measure"),
        ("compare a b --quiet", "--quiet requires --measure"),
        ("compare a.yaml b.yaml --measure -q -v", "--quiet and --verbose cannot be combined"),
        ("plan a.yaml --export k8s --json", "--export cannot be combined with --json or --output"),
        ("run http://127.0.0.1:1 --users 5", "--users cannot be combined with a URL"),
        ("run grpc://127.0.0.1:1 --data x", "--data is only for plain HTTP"),
        ("run --openai localhost:8000", "the URL must start with http:// or https://"),
        ("run --openai http://[x", "the URL is not valid"),
        ("run --openai http://127.0.0.1:1/v1 --api-key sk-canary", "target.api_key"),
    ],
)
def test_invalid_option_combinations_are_usage_errors_without_secrets(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert message in shown
    assert "canary" not in shown


def test_url_scheme_is_case_insensitive() -> None:
    url = "HTTP://127.0.0.1:1/x"
    options = build_group(UrlOptions, parse(["run", url, "--rate", "5/s"]))
    assert is_url(url, options)
    assert load_url_profile(url, options, []).profile.target.url == "http://127.0.0.1:1/x"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("option", "suggested"),
    [
        ("--rps", "--rate"),
        ("-n", "--requests"),
        ("--num-prompts", "--requests"),
        ("-c", "--concurrency"),
        ("--rat", "--rate"),
    ],
)
def test_option_of_another_tool_suggests_the_sizewise_option(
    option: str, suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "http://127.0.0.1:9", option, "5"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines()[1] == f"hint: Did you mean {suggested}?"


@pytest.mark.parametrize("command", ["plan --gpu", "offers list --gpus", "evidence list --gpus", "evidence add --gpu"])
def test_gpus_suggests_the_accelerator_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "h100"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines()[1] == "hint: Did you mean --accelerator?"


def test_option_names_of_other_tools_are_unique_and_not_options() -> None:
    for command in iter_commands():
        options = [parameter for parameter in command.params if isinstance(parameter, CommandOption)]
        elsewhere = [name for option in options for name in option.elsewhere]
        assert len(elsewhere) == len(set(elsewhere))
        assert not {*elsewhere} & {name for option in options for name in option.opts}
