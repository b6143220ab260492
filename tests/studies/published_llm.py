"""How well a model of step times predicts published measurements of language models that it was not fitted to.

`python -m tests.studies.published_llm --import FILE` reads a file in the columns of `silicon_sample.csv` and writes the
rows that count (`tests.studies.published_rows`) as the bundled table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.profiles.language_models import map_model_names
from app.profiles.published_points import TABLE, format_points
from tests.studies.published_rows import read_rows, select_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="write the bundled table from it")
    arguments = parser.parse_args()
    if arguments.imported:
        points = select_points(read_rows(arguments.imported), map_model_names())
        TABLE.write_text(format_points(points), encoding="utf-8")
        print(f"{len(points)} points, {TABLE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
