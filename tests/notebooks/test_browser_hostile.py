"""A hostile cohort in a real browser: every view and report of it is opened, and nothing runs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hostile
import lab
import nbformat
import pytest
from toy_cli import ssltut
from toy_nifti import HU, LABEL, save

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
RAN = "() => window.ran ?? 0"
pytestmark = pytest.mark.timeout(4 * lab.PATIENCE_S)


@pytest.fixture(scope="module")
def opened(window: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Desk]:
    """A notebook of all views, run, with a list of the dialogs that opened."""
    folder = tmp_path_factory.mktemp("hostile")
    cells = [nbformat.v4.new_code_cell("import hostile\nfrom IPython.display import HTML")]
    for name in hostile.VIEWS:
        cells.append(nbformat.v4.new_code_cell(f"hostile.VIEWS[{name!r}]()"))
    cells.append(nbformat.v4.new_code_cell("HTML('<p>the last cell</p>')"))
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "notebooks").mkdir()
    nbformat.write(book, folder / "notebooks" / "hostile.ipynb")
    paths = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    with lab.jupyter(folder, PYTHONPATH=paths, SSLTUT_VIEWER="k3d") as address:
        desk = lab.Desk(window, address, folder, size=(1366, 768))
        desk.dialogs = dialogs_of(desk)
        desk.open("hostile.ipynb")
        desk.run()
        yield desk
        desk.close()


def dialogs_of(desk: lab.Desk) -> list[str]:
    """Fills with what each dialog of the page says; each is closed."""
    found: list[str] = []

    def closed(dialog: object) -> None:
        found.append(dialog.message)
        dialog.dismiss()

    desk.page.on("dialog", closed)
    return found


@pytest.mark.parametrize("name", hostile.VIEWS)
def test_a_view_of_a_hostile_cohort_runs_nothing(opened: lab.Desk, name: str) -> None:
    shown = opened.output(opened.cell(f"VIEWS[{name!r}]"))
    opened.page.evaluate(lab.QUIET)
    opened.shot(f"hostile_{name.replace(' ', '_')}", shown)
    for part in shown.locator("img, svg text, .ssltut-legend span").all()[:8]:
        if part.is_visible():
            part.hover(force=True, timeout=5000)
    assert opened.dialogs == []
    assert opened.page.evaluate(RAN) == 0


def test_the_names_stand_there_as_letters(opened: lab.Desk) -> None:
    shown = opened.output(opened.cell("VIEWS['slices']"))
    legend = shown.locator(".ssltut-legend").first.inner_text()
    for name in hostile.NAMES[:4]:
        assert name in legend


def test_the_guard_sees_what_would_run(opened: lab.Desk) -> None:
    """The same name put into the page as HTML: the dialog opens and the script runs."""
    page = opened.context.new_page()
    fresh = lab.Desk.__new__(lab.Desk)
    fresh.page = page
    dialogs = dialogs_of(fresh)
    page.goto("about:blank")
    page.evaluate("html => { document.body.innerHTML = html; }", hostile.NAMES[0])
    page.wait_for_function("() => window.ran === 1")
    assert dialogs == ["1"]
    page.close()


def test_reports_of_a_hostile_folder_run_nothing(window: "Browser", tmp_path: Path) -> None:
    for i, name in enumerate(hostile.NAMES[:5]):
        for part, values in (("images", HU + i), ("labels", LABEL)):
            place = tmp_path / "in" / part
            place.mkdir(parents=True, exist_ok=True)
            save(place / f"{name.replace('/', '-')}.nii.gz", values.astype(values.dtype))
    names = ", ".join(f'"{n}"' for n in ("background", "a<b>", r"$\\frac{$"))
    mapping = tmp_path / "map.yaml"
    mapping.write_text(f"table: {{name: x, names: [{names}]}}\nvalues: {{1: 'a<b>', 2: 2}}\n")
    out = tmp_path / "out"
    code, _, err = ssltut("ingest", tmp_path / "in", "--labels", mapping, "--out", out)
    assert code in (0, 1, 2)
    assert all(line.isprintable() for line in err)
    if code == 2:  # the names are refused before anything is drawn
        return
    context = window.new_context()
    page = context.new_page()
    found: list[str] = []
    page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
    for report in sorted((out / "reports").glob("*.html")):
        page.goto(report.as_uri())
        assert page.evaluate(RAN) == 0
        assert page.locator("script, svg, a[href^=javascript]").count() == 0
    assert found == []
    context.close()
