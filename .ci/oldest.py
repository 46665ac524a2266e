"""Print the oldest libraries that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"].values()
for line in dict.fromkeys([*project["dependencies"], *(one for extra in extras for one in extra)]):
    if found := re.match(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", line):
        print(f"{found[1]}=={found[2]}")
