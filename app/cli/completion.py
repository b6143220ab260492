"""Print the script that completes commands, options, profiles and run IDs in a shell."""

from __future__ import annotations

import click

from app.cli.commands import Command
from app.cli.streams import print_whole

_SHELLS = ("bash", "zsh", "fish")


def _print_script(shell: str) -> int:
    from click.shell_completion import get_completion_class

    from app.cli.main import COMPLETION_VARIABLE, PROGRAM, build_command_line

    completion_class = get_completion_class(shell)
    assert completion_class is not None
    print_whole(completion_class(build_command_line(), {}, PROGRAM, COMPLETION_VARIABLE).source())
    return 0


COMMAND = Command(
    "completion",
    _print_script,
    [click.Argument(["shell"], type=click.Choice(_SHELLS), help="shell that completes")],
    documentation=__doc__,
    examples=(
        'eval "$(sizewise completion bash)"   # in ~/.bashrc',
        'eval "$(sizewise completion zsh)"    # in ~/.zshrc',
        "sizewise completion fish > ~/.config/fish/completions/sizewise.fish",
    ),
)
