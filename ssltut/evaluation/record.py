"""The project's records: tables of comparisons in its folder ``results``."""

import warnings
from pathlib import Path

import pandas as pd

from ssltut.errors import DataWarning
from ssltut.files import PROJECT

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
RECORDS = PROJECT / "results"


def read_rows(file: Path) -> pd.DataFrame:
    """Rows of ``compare``; ids stay text, so that a case 007 does not become 7."""
    text = dict.fromkeys(("case", "patient", "config"), str)
    return pd.read_csv(file, dtype={**text, "value": float})


def record_file(name: str, folder: Path = RECORDS) -> Path:
    """Where the record ``name`` is, or would be: NAME.csv, in an installed package NAME.csv.gz."""
    packed = folder / f"{name}.csv.gz"
    return packed if packed.is_file() else folder / f"{name}.csv"


def recorded(name: str, folder: Path = RECORDS) -> pd.DataFrame:
    """The rows of the record ``name``, with the settings of each run in every row.

    Where there is none a DataWarning says so and there are no rows.
    """
    file, runs = record_file(name, folder), record_file(f"{name}_runs", folder)
    if not file.is_file():
        problem = f"there is no results table {name!r}: no rows"
        fix = "name a file of results/; results/archive/ is in a clone of the project alone"
        warnings.warn(DataWarning(problem, where=file, fix=fix), stacklevel=2)
        return pd.DataFrame(columns=COLUMNS)
    rows = read_rows(file)
    if not runs.is_file():
        return rows
    return rows.merge(read_rows(runs), on=RUN, how="left", validate="many_to_one")[COLUMNS]
