"""Write a record: the rows of comparisons as ``NAME.csv`` and ``NAME_runs.csv`` in this folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ssltut.evaluation.record import RECORDS, RUN, recorded
from ssltut.files import write_atomically

# The same in all rows of a run, so a record says them once, in a file of its own.
OF_A_RUN = [
    *("selected_step", "selection", "error", "seconds", "cohort", "settings", "options", "kept"),
    *("command", "commit", "machine"),
]


def write_record(
    rows: pd.DataFrame, name: str, order: Sequence[str], folder: Path = RECORDS
) -> pd.DataFrame:
    """Write the rows of ``compare``, and what is the same for a run once, in ``NAME_runs.csv``.

    A record can be made in parts on several machines: runs it held before stay, unless ``rows`` has
    their method, budget and seed again. Runs with other settings, such as those made under older
    rules, leave the record, and a line says so. Runs are sorted by budget, by the position of their
    method in ``order``, and by seed. Returns the whole record.
    """
    rows = rows.assign(command=without_folders(rows["command"]))
    if (folder / f"{name}.csv").is_file():
        run, before = ["method", "budget", "seed"], recorded(name, folder)
        again = pd.MultiIndex.from_frame(rows[run])
        kept = before[~pd.MultiIndex.from_frame(before[run]).isin(again)]
        same = settings_of(kept).isin(settings_of(rows))
        if gone := kept.loc[~same, "config"].nunique():
            print(f"{gone} runs with other settings leave the record {name}")
        kept = kept[same]
        rows = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows
    place = {method: n for n, method in enumerate(order)}
    rows = rows.sort_values(
        ["budget", "method", "seed"],
        key=lambda column: column.map(place) if column.name == "method" else column,
        kind="stable",
        ignore_index=True,
    )
    settings = rows.drop_duplicates(RUN)[[*RUN, *OF_A_RUN]]
    write_atomically(folder / f"{name}_runs.csv", settings.to_csv(index=False))
    write_atomically(folder / f"{name}.csv", rows.drop(columns=OF_A_RUN).to_csv(index=False))
    return rows


def without_folders(commands: pd.Series) -> pd.Series:
    """Commands with the last names of absolute paths: where one machine kept its runs is nobody's.

    ``--folder /home/me/runs`` becomes ``--folder runs``.
    """
    return commands.str.replace(r"(?<!\S)/\S*/", "", regex=True)


def settings_of(rows: pd.DataFrame) -> pd.Series:
    """The settings of the run of each row, but for its seed."""
    return rows["settings"].str.replace(r'"seed": \d+', "", regex=True)
