"""The project's records: tables of comparisons in the folder ``results`` of a clone."""

import warnings
from pathlib import Path

import pandas as pd

from ssltut.errors import DataWarning

COLUMNS = [
    *("case", "patient", "difficulty", "class", "metric", "value", "status"),
    *("selected_step", "selection", "error", "seconds", "cohort", "method", "budget", "seed"),
    *("config", "settings", "options", "kept", "command", "commit", "machine"),
]
"""Of every row of a comparison."""
RUN = ["config", "budget"]
"""Name a run."""
COSTS = ["forward passes", "networks", "memory (MiB)", "seconds a step"]
"""What the record ``costs`` holds for each method."""
RECORDS = Path(__file__).resolve().parents[2] / "results"


def read_rows(file: Path) -> pd.DataFrame:
    """Rows of ``compare``; ids stay text, so that a case 007 does not become 7."""
    text = dict.fromkeys(("case", "patient", "config"), str)
    return pd.read_csv(file, dtype={**text, "value": float})


def recorded(name: str, folder: Path = RECORDS) -> pd.DataFrame:
    """The rows of the record ``name``, with the settings of each run in every row.

    Where there is none, as in an installed package, a DataWarning says so and there are no rows.
    """
    file, runs = folder / f"{name}.csv", folder / f"{name}_runs.csv"
    if not file.is_file():
        problem = f"there is no results table {name!r}: no rows"
        fix = "use a clone of the project, with its folder results/ (the package alone has none)"
        warnings.warn(DataWarning(problem, where=file, fix=fix), stacklevel=2)
        return pd.DataFrame(columns=COLUMNS)
    rows = read_rows(file)
    if not runs.is_file():
        return rows
    return rows.merge(read_rows(runs), on=RUN, how="left", validate="many_to_one")[COLUMNS]
