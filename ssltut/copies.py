"""A learner's copies of the notebooks: what somebody wrote in one is never overwritten."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ssltut.files import PROJECT, read_json, whole_file, write_atomically

RECORD = ".copies.json"  # the digest of what was written to each file of a folder of copies
TO_THE_PROJECT = re.compile(r"\[([^\[\]]*)\]\((?:\.\./)+((?!figures/|glossary)[a-z_]+/[^)]*)\)")


def digest(data: bytes) -> str:
    """Of what a file says: of a notebook its cells, without outputs and what else Jupyter saves."""
    with suppress(ValueError, KeyError, TypeError):  # no notebook: all its bytes
        cells = json.loads(data)["cells"]
        said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
        data = json.dumps(said).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def update(files: Mapping[str, bytes], folder: Path) -> list[str]:
    """Bring ``folder`` up to date without touching an answer; a line for each notebook written.

    ``files`` has what to copy by names in ``folder``. A file is replaced only while it says what
    was written there; beside another the newer one is put, as NAME.new.ipynb.
    """
    record, lines = folder / RECORD, []
    written = read_json(record) if record.is_file() else {}
    for name, data in files.items():
        if (folder / name).exists() and digest(data) in written.values():
            continue  # it was brought before, and is the learner's business since
        target = free_name(name, folder, written)
        line = f"{name} is updated; you had not changed it"
        if target != name:
            line = f"{name} has an update: it is in {target}, and your {name} is as you left it"
        elif not (folder / name).exists():
            line = f"{name} is new"
        lines += [line] if name.endswith(".ipynb") else []
        with whole_file(folder / target) as part:
            part.write_bytes(data)
        written[target] = digest(data)
        write_atomically(record, json.dumps(written, indent=1))
    return lines


def free_name(name: str, folder: Path, written: Mapping[str, str]) -> str:
    """The first of NAME.ipynb, NAME.new.ipynb, NAME.new2.ipynb ... that holds nothing of others."""
    stem, _, ending = name.rpartition(".")
    target, n = name, 0
    while (file := folder / target).exists() and digest(file.read_bytes()) != written.get(target):
        n += 1
        target = f"{stem}.new{n if n > 1 else ''}.{ending}"
    return target


def copy_notebooks(folder: Path, *, solutions: bool = False, project: Path = PROJECT) -> list[str]:
    """``update`` of any folder with the notebooks, their figures and the glossary.

    Links to other files of the project become the names of these files.
    """
    home, files = project / "notebooks", {}
    for place in ("", "solutions/") if solutions else ("",):
        for book in sorted(home.glob(f"{place}[0-9][0-9]_*.ipynb")):
            text = book.read_text(encoding="utf-8").replace("../docs/glossary.md", "glossary.md")
            files[f"{place}{book.name}"] = TO_THE_PROJECT.sub(r"\1 (`\2`)", text).encode()
    files |= {f"figures/{file.name}": file.read_bytes() for file in home.glob("figures/*.png")}
    files["glossary.md"] = (project / "docs" / "glossary.md").read_bytes()
    return update(files, folder)
