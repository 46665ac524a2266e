"""Which 3D viewer works where, in a real browser without a network: the table of docs/viewer.md.

The table was measured on a machine with Notebook 7, the scripts of itkwidgets
(data_scripts/install_viewer.py), ipyniivue, and the widget manager of the npm packages
@jupyter-widgets/html-manager and requirejs, in the folder that SSLTUT_WIDGET_MANAGER names. These
tests try what of it is here and quick, with 64 voxels a side, and hold the table to it;
SSLTUT_WRITE_VIEWERS="64 96 128" measures these sizes, the slow viewers too, and writes the table.
"""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import numpy as np
import pytest
import viewers
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = lab.ROOT / "docs" / "viewer.md"
WRITE = os.environ.get("SSLTUT_WRITE_VIEWERS", "")
SIZES = {"lab": [int(n) for n in WRITE.split()] or [64], "notebook": [64]}
APPS = {"JupyterLab": "lab", "Notebook 7": "notebook"}
PAGES = ("VS Code (simulated)", "Colab (simulated)", "static page")
QUICK_S = 60  # of a viewer that took longer at 64 voxels, every run of these tests would wait
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


def quick(words: str) -> bool:
    """Whether a cell of the table promises a volume, and soon."""
    took = re.match(r"yes: 64³ (\d+) s", words)
    return words == "yes" or bool(took and int(took[1]) <= QUICK_S)


def in_words(took: dict[int, viewers.Took]) -> str:
    """A cell of the table."""
    parts = []
    for n, (drawn, waited_s, processor_s) in took.items():
        waited = f"{waited_s:.0f} s" if drawn else f"not within {viewers.PATIENCE_S} s"
        parts.append(f"{n}³ {waited} ({processor_s:.0f} s)")
    drawn = any(one.drawn for one in took.values())
    return ("yes: " if drawn else "") + ", ".join(parts)


def test_a_cell_of_the_table_is_its_seconds_or_the_end_of_patience() -> None:
    quickly, slowly = viewers.Took(True, 14.6, 9.7), viewers.Took(True, 90.0, 70.0)
    never = viewers.Took(False, 600.3, 80.0)
    assert in_words({64: quickly, 96: slowly}) == "yes: 64³ 15 s (10 s), 96³ 90 s (70 s)"
    assert in_words({64: slowly, 96: never}) == "yes: 64³ 90 s (70 s), 96³ not within 600 s (80 s)"
    assert in_words({64: never}) == "64³ not within 600 s (80 s)"
    held = ("yes", "yes: 64³ 15 s (10 s)", "yes: 64³ 90 s (70 s)", "64³ not within 600 s", "no")
    assert [quick(words) for words in held] == [True, True, False, False, False]


def test_what_stands_at_the_border_of_a_viewer_is_no_volume(tmp_path: Path) -> None:
    shot, box = tmp_path / "shot.png", {"x": 10, "y": -20, "width": 80, "height": 200}
    pixels = np.full((100, 100, 3), 128, np.uint8)
    pixels[:20] = np.arange(300).reshape(100, 3) % 256
    pixels[:, :45] = np.arange(135).reshape(45, 3)
    Image.fromarray(pixels).save(shot)
    assert lab.colours(viewers.cut(shot, box)) == 1
    pixels[40:60, 50:70] = np.arange(60).reshape(20, 3) * 4
    Image.fromarray(pixels).save(shot)
    assert lab.colours(viewers.cut(shot, box)) > 10


@pytest.mark.parametrize("where", APPS)
@pytest.mark.parametrize("viewer", viewers.ALL)
def test_a_volume_stands_in_a_notebook(
    viewer: str, where: str, window: "Browser", tmp_path: Path, measured: dict
) -> None:
    if where == "Notebook 7" and not find_spec("notebook"):
        pytest.skip("Notebook 7 is not installed (pip install notebook)")
    if viewer not in viewers.here():
        pytest.skip(f"{viewer} or its scripts are not installed here")
    if not WRITE and not quick(documented(viewer, where)):
        pytest.skip("the table promises nothing here, or nothing soon")
    took = viewers.in_jupyter(window, tmp_path / "lab", APPS[where], viewer, SIZES[APPS[where]])
    if WRITE:
        measured[viewer, where] = in_words(took)
    else:
        assert all(one.drawn for one in took.values())


@pytest.mark.parametrize("where", PAGES)
@pytest.mark.parametrize("viewer", viewers.ALL)
def test_a_page_shows_the_volume_or_its_picture(
    viewer: str, where: str, window: "Browser", tmp_path: Path, measured: dict
) -> None:
    if viewer not in viewers.here():
        pytest.skip(f"{viewer} or its scripts are not installed here")
    folder = tmp_path / where.split()[0]
    if where.startswith("VS Code"):
        if "SSLTUT_WIDGET_MANAGER" not in os.environ:
            pytest.skip("no widget manager: SSLTUT_WIDGET_MANAGER names no folder")
        manager = Path(os.environ["SSLTUT_WIDGET_MANAGER"])
        shown = viewers.in_vscode(window, folder, viewer, manager)
    else:
        first = viewers.COLAB if where.startswith("Colab") else ""
        shown = viewers.on_a_page(window, folder, first, viewer)
    words = {"live": "yes", "picture": "its picture", "nothing": "no"}[shown]
    measured[viewer, where] = words
    if not WRITE:
        assert words == documented(viewer, where)
