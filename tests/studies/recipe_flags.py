"""Flags of the engines in the recipes of InferenceX that published points name.

`python -m tests.studies.recipe_flags RECIPES > profiles/evidence/recipe_flags.csv`, where RECIPES is the folder
`single_node` of the recipes. Only flags are read that presets of engines have, with literal values; `clients` stands
for the number of clients of the point, and values of several loads are joined by "or".
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from app.analysis.published_points import load_published_points
from app.records.engine_presets import ENGINE_PRESETS
from app.records.evidence import EngineName

_CLIENTS = "CONC"


def list_flags(text: str, engine: EngineName) -> Iterator[tuple[str, str]]:
    """Yield the flags that a script sets, with their values."""
    for flag in ENGINE_PRESETS[engine].flags:
        name = flag.flag.lstrip("-").rpartition(".")[2]
        dashes = (
            "--" if name == "max_batch_size" else "(?:--)?"
        )  # the graphs of TensorRT-LLM have a size of this name, too
        found = re.findall(rf'(?<![\w-]){dashes}{name}[ =:]+"?\$?{{?([A-Za-z_]\w*|\d[\d.]*)', text)
        values = {value for word in found for value in _resolve(word, text)}
        if values:
            yield flag.flag, " or ".join(sorted(values, key=lambda value: (len(value), value)))


def _resolve(word: str, text: str) -> list[str]:
    """Return the literal values of a value or of a variable of the script."""
    if word == _CLIENTS:
        return ["clients"]
    if not word.isupper():
        return [word]
    return re.findall(rf'(?<!\w){word}="?(\d[\d.]*|[a-z][a-z0-9_]*)', text)


def main() -> None:
    folder = Path(sys.argv[1])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("recipe", "flag", "value"))
    servers = {(point.recipe, point.served.engine) for point in load_published_points() if point.recipe}
    for recipe, engine in sorted(servers):
        writer.writerows((recipe, *flag) for flag in list_flags((folder / str(recipe)).read_text("utf-8"), engine))


if __name__ == "__main__":
    main()
