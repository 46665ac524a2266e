"""Lines and branches that the tests ran, against the floors in pyproject.toml.

``make test COVERAGE=1`` runs it on build/coverage.json; below a floor it fails.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shares(totals: Mapping[str, int]) -> dict[str, float]:
    """Per cent of the lines and of the branches, from the totals of coverage's JSON."""
    lines = totals["covered_lines"] / totals["num_statements"]
    return {
        "lines": 100 * lines,
        "branches": 100 * totals["covered_branches"] / totals["num_branches"],
    }


def below(found: Mapping[str, float], floors: Mapping[str, float]) -> list[str]:
    """The names of the shares that are too low."""
    return [name for name, floor in floors.items() if found[name] < floor]


def main() -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    floors = settings["tool"]["ssltut"]["coverage"]
    report = json.loads((ROOT / "build" / "coverage.json").read_text(encoding="utf-8"))
    found = shares(report["totals"])
    for name, floor in floors.items():
        print(f"coverage of {name}: {found[name]:.1f} % (at least {floor} %)")
    return 1 if below(found, floors) else 0


if __name__ == "__main__":
    raise SystemExit(main())
