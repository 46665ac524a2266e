"""Open JupyterLab on your own copies of the notebooks: ``python notebooks/open_lab.py [--demo]``.

The copies lie in ``my/``. What you wrote there is never overwritten: a notebook that you have not
changed is replaced when there is a newer one; one that you have changed stays, and the newer one
is put beside it as ``NAME.new.ipynb``; one that you have deleted comes back. Lines say which.
JupyterLab gets its settings from ``notebooks/settings``, so nothing of yours is changed; it asks
nobody for news or updates. ``--demo`` shows notebook 00 alone, without side bars; ``--copy`` only
makes the copies.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from ssltut import copies

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
MINE = ROOT / "my"


def student_copy(notebook: Path) -> str:
    """The text of a notebook as it goes to MINE, from where its pictures lie elsewhere."""
    text = notebook.read_text(encoding="utf-8")
    for before in ("(", 'src=\\"'):
        text = text.replace(f"{before}figures/", f"{before}../notebooks/figures/")
    return text


def update(notebooks: Path = NOTEBOOKS, mine: Path = MINE) -> list[str]:
    """Bring ``mine`` up to date; a line for each file that was written."""
    found = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    return copies.update({file.name: student_copy(file).encode() for file in found}, mine)


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
