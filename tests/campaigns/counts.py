"""The counts of the campaigns, written between two marks of RELIABILITY.md."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from trials import Outcome

HEAD = [
    "| campaign | tried | ended as promised | broken | seed | day |",
    "|---|---|---|---|---|---|",
]
MARKS = "<!-- counts: written by make campaign -->\n", "<!-- end of counts -->\n"


def write_counts(outcomes: list[Outcome], seed: int, file: Path) -> None:
    """Put what was tried and kept into the table; campaigns that did not run keep their rows."""
    text = file.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    old, after = rest.split(MARKS[1])
    found = re.findall(r"^(\| ([^|]+) \|.*)$", old, re.MULTILINE)[1:]
    rows = {name: row for row, name in found}
    day = datetime.now(UTC).strftime("%d %B %Y")
    for outcome in outcomes:
        counts = f"{outcome.tried} | {outcome.kept} | {len(outcome.broken)}"
        rows[outcome.name] = f"| {outcome.name} | {counts} | {seed} | {day} |"
    lines = [*HEAD, *rows.values(), "", f"On {machine()}.", ""]
    file.write_text(before + MARKS[0] + "\n".join(lines) + MARKS[1] + after, encoding="utf-8")


def machine() -> str:
    """The processor and the system, in words."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu.read_text() if cpu.is_file() else "")
    name = found[1] if found else platform.machine()
    return f"{name}, {platform.system()}, Python {platform.python_version()}"
