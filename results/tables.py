"""The tables of a record as Markdown, for the README: ``python results/tables.py results/synthetic_class.csv``."""

import sys
from pathlib import Path

import pandas as pd

from ssltut.compare import read_rows
from ssltut.statistics import paired, summary, verdict

UNITS = {"dice": ("Dice", 3), "hd95": ("HD95, mm", 1)}


def markdown(rows: pd.DataFrame, metric: str) -> str:
    """A row a method: mean, interval over patients, spread over seeds, and the paired difference to labels only; then the verdict."""
    (name, digits), against = UNITS[metric], paired(rows, metric)
    table = summary(rows, metric).merge(against[["method", "budget", "difference", "p Holm", "wins", "ties", "losses"]], how="left")
    lines = [f"| | {name} | 95 % interval | sd over seeds | minus labels only | p (Holm) | wins / ties / losses |", "|---|---|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        values = [row["title"], f"{row['mean']:.{digits}f}", f"{row['low95']:.{digits}f} to {row['high95']:.{digits}f}", f"{row['sd over seeds']:.{digits}f}"]
        if pd.notna(row["difference"]):
            values += [f"{row['difference']:+.{digits}f}", f"{row['p Holm']:.2g}", f"{row['wins']:.0f} / {row['ties']:.0f} / {row['losses']:.0f}"]
        lines.append("| " + " | ".join([*values, *[""] * (7 - len(values))]) + " |")
    return "\n".join([*lines, "", verdict(against)])


if __name__ == "__main__":
    found = read_rows(Path(sys.argv[1]))
    print("\n\n".join(markdown(found, metric) for metric in UNITS))
