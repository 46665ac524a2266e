"""Open JupyterLab on your own copies of the notebooks: ``python notebooks/open_lab.py [--demo]``.

The copies lie in ``my/``. What you wrote there is never overwritten: a notebook that you have not
changed is replaced when there is a newer one; one that you have changed stays, and the newer one
is put beside it as ``NAME.new.ipynb``; one that you have deleted comes back. Lines say which.
JupyterLab gets its settings from ``notebooks/settings``, so nothing of yours is changed; it asks
nobody for news or updates. ``--demo`` shows notebook 00 alone, without side bars; ``--copy`` only
makes the copies.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
MINE = ROOT / "my"
RECORD = ".copies.json"  # the digest of what was written to each file of MINE


def digest(text: str) -> str:
    """Of what a notebook says: its cells, without outputs and what else JupyterLab saves."""
    try:
        cells = nbformat.reads(text, as_version=4).cells
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError):
        return "not a notebook"
    said = json.dumps([[cell.cell_type, cell.source] for cell in cells])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def student_copy(notebook: Path) -> str:
    """The text of a notebook as it goes to MINE, from where its pictures lie elsewhere."""
    text = notebook.read_text(encoding="utf-8")
    for before in ("(", 'src=\\"'):
        text = text.replace(f"{before}figures/", f"{before}../notebooks/figures/")
    return text


def update(notebooks: Path = NOTEBOOKS, mine: Path = MINE) -> list[str]:
    """Bring ``mine`` up to date without touching an answer; a line for each file that was written.

    A file is replaced only while its cells are those that were written there.
    """
    mine.mkdir(exist_ok=True)
    file = mine / RECORD
    written = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    lines = []
    for notebook in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        text = student_copy(notebook)
        new = digest(text)
        names = [notebook.name, *newer_names(notebook, mine)]
        if (mine / notebook.name).exists() and new in [written.get(name) for name in names]:
            continue  # it was brought before, and is the student's business since
        target = next(name for name in names if is_free(mine / name, written.get(name)))
        lines.append(line_of(notebook.name, target, was_there=(mine / target).is_file()))
        (mine / target).write_text(text, encoding="utf-8", newline="\n")
        written[target] = new
        file.write_text(json.dumps(written, indent=1), encoding="utf-8")
    return lines


def newer_names(notebook: Path, mine: Path) -> list[str]:
    """NAME.new.ipynb, NAME.new2.ipynb and so on: those in ``mine`` and the next one."""
    names = [f"{notebook.stem}.new.ipynb"]
    while (mine / names[-1]).exists():
        names.append(f"{notebook.stem}.new{len(names) + 1}.ipynb")
    return names


def is_free(path: Path, was_written: str | None) -> bool:
    """Whether nothing of the student's is lost when ``path`` is written."""
    return not path.exists() or digest(path.read_text(encoding="utf-8")) == was_written


def line_of(name: str, target: str, *, was_there: bool) -> str:
    """What is said of a file that is written."""
    if target != name:
        return f"{name} has an update: it is in {target}, and your {name} is as you left it"
    return f"{name} is updated; you had not changed it" if was_there else f"{name} is new"


def command(target: str, *, simple: bool, more: list[str]) -> list[str]:
    """JupyterLab on the file or folder ``target`` of the project."""
    start = "doc/tree" if simple else "lab/tree"
    options = [
        f"--ServerApp.root_dir={ROOT}",  # the notebooks link to docs/
        f"--LabApp.app_settings_dir={NOTEBOOKS / 'settings'}",
        f"--LabApp.default_url=/{start}/{target}",
    ]
    return [sys.executable, "-m", "jupyter", "lab", *options, *more]


def main(arguments: list[str] | None = None) -> int:
    """The command line; what it does not know goes to JupyterLab. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", action="store_true", help="notebook 00 alone")
    parser.add_argument("--copy", action="store_true", help="make the copies and stop")
    args, more = parser.parse_known_args(arguments)
    print(*(f"{MINE.name}/: {line}" for line in update()), sep="\n", end="\n\n")
    if args.copy:
        return 0
    first = next(path.name for path in sorted(MINE.glob("00_*.ipynb")))
    print(
        "Press Shift+Enter in the notebook to run a cell and go to the next. Ctrl+C here stops.\n"
    )
    lab = command(f"{MINE.name}/{first}", simple=args.demo, more=more)
    # Waiting threads that spin make a step many times slower where others work too.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    try:
        return subprocess.run(lab, check=False, env=environment).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
