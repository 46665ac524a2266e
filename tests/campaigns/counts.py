"""The counts of the campaigns, written between two marks of RELIABILITY.md."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from trials import Outcome

MARKS = "<!-- counts: written by make campaign -->\n", "<!-- end of counts -->\n"


def write_counts(outcomes: list[Outcome], seed: int, file: Path) -> None:
    """Put a table of what was tried and kept in the place of the one before."""
    text = file.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    file.write_text(before + MARKS[0] + table(outcomes, seed) + MARKS[1] + after, encoding="utf-8")


def table(outcomes: list[Outcome], seed: int) -> str:
    """A table in Markdown, and below it seed, day and machine."""
    rows = ["| campaign | tried | ended as promised | broken |", "|---|---|---|---|"]
    for outcome in outcomes:
        rows.append(
            f"| {outcome.name} | {outcome.tried} | {outcome.kept} | {len(outcome.broken)} |"
        )
    day = datetime.now(UTC).strftime("%d %B %Y")
    rows += ["", f"Seed {seed}, {day}, {machine()}.", ""]
    return "\n".join(rows)


def machine() -> str:
    """The processor and the system, in words."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu.read_text() if cpu.is_file() else "")
    name = found[1] if found else platform.machine()
    return f"{name}, {platform.system()}, Python {platform.python_version()}"
