"""Which 3D viewer works where, in a real browser without a network: the table of docs/viewer.md.

The table was measured on a machine with Notebook 7, the scripts of itkwidgets
(data_scripts/install_viewer.py), ipyniivue, and the widget manager of the npm packages
@jupyter-widgets/html-manager and requirejs, in the folder that SSLTUT_WIDGET_MANAGER names. These
tests try what of it is here, with 64 voxels a side, and hold the table to it;
SSLTUT_WRITE_VIEWERS="64 96 128" measures these sizes and writes the table again.
"""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import pytest
import viewers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = lab.ROOT / "docs" / "viewer.md"
WRITE = os.environ.get("SSLTUT_WRITE_VIEWERS", "")
SIZES = {"lab": [int(n) for n in WRITE.split()] or [64], "notebook": [64]}
APPS = {"JupyterLab": "lab", "Notebook 7": "notebook"}
PAGES = ("VS Code (simulated)", "Colab (simulated)", "static page")
BETWEEN = re.compile(r"(<!-- viewers -->\n).*?(<!-- end -->)", re.DOTALL)
pytestmark = pytest.mark.timeout(4 * lab.PATIENCE_S)


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[tuple[str, str], str]]:
    """{(viewer, where): what was seen}; written into the table, which keeps the rest."""
    found: dict[tuple[str, str], str] = {}
    yield found
    if WRITE:
        text = PAGE.read_text(encoding="utf-8")
        written = BETWEEN.sub(lambda old: f"{old[1]}{table(found)}{old[2]}", text)
        PAGE.write_text(written, encoding="utf-8")


def table(found: dict[tuple[str, str], str]) -> str:
    places = [*APPS, *PAGES]
    lines = [["viewer", *places], ["---"] * (len(places) + 1)]
    for viewer in viewers.ALL:
        cells = [found.get((viewer, where)) or documented(viewer, where) for where in places]
        lines.append([viewer, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def documented(viewer: str, where: str) -> str:
    """What the table says of a viewer."""
    rows = BETWEEN.search(PAGE.read_text(encoding="utf-8"))[0].splitlines()[1:-1]
    head, *lines = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] or [[]]
    cells = next((line for line in lines if line[0] == viewer), None)
    return cells[head.index(where)] if cells else "not tried"


@pytest.mark.parametrize("where", APPS)
@pytest.mark.parametrize("viewer", viewers.ALL)
def test_a_volume_stands_in_a_notebook(
    viewer: str, where: str, window: "Browser", tmp_path: Path, measured: dict
) -> None:
    if where == "Notebook 7" and not find_spec("notebook"):
        pytest.skip("Notebook 7 is not installed (pip install notebook)")
    if viewer not in viewers.here():
        pytest.skip(f"{viewer} or its scripts are not installed here")
    if not WRITE and not documented(viewer, where).startswith("yes"):
        pytest.skip("the table promises nothing that could be held: it was looked at by hand")
    seconds = viewers.in_jupyter(window, tmp_path / "lab", APPS[where], viewer, SIZES[APPS[where]])
    lived = [n for n in seconds.values() if n is not None]
    if WRITE:
        words = [f"{n}³ {t:.0f} s" if t else f"{n}³ not drawn" for n, t in seconds.items()]
        measured[viewer, where] = f"yes: {', '.join(words)}" if lived else "no"
    else:
        assert lived


@pytest.mark.parametrize("where", PAGES)
@pytest.mark.parametrize("viewer", viewers.ALL)
def test_a_page_shows_the_volume_or_its_picture(
    viewer: str, where: str, window: "Browser", tmp_path: Path, measured: dict
) -> None:
    first, manager = "", None
    if where.startswith("VS Code"):
        if "SSLTUT_WIDGET_MANAGER" not in os.environ:
            pytest.skip("no widget manager: SSLTUT_WIDGET_MANAGER names no folder")
        first, manager = viewers.VSCODE, Path(os.environ["SSLTUT_WIDGET_MANAGER"])
    if where.startswith("Colab"):
        first = viewers.COLAB
    if viewer not in viewers.here():
        pytest.skip(f"{viewer} or its scripts are not installed here")
    shown = viewers.on_a_page(window, tmp_path / "page", first, viewer, manager)
    words = {"live": "yes", "picture": "its picture", "nothing": "no"}[shown]
    measured[viewer, where] = words
    if not WRITE:
        assert words == documented(viewer, where)
