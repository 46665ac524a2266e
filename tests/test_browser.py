"""Notebooks 01, 03 and 04 in a real browser without the internet, driven as a person drives them: what is asserted is what the screen shows.

Screenshots are kept in build/browser. ``SSLTUT_CHROMIUM`` names the browser, ``SSLTUT_BROWSER_PROFILE`` how much the notebooks run
(default: smoke). Without a browser these tests skip, unless ``SSLTUT_BROWSER=required``, as ``make test-browser`` says.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import lab
import nbformat
import papermill
import pytest
import tool
import tour
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

PROFILE = os.environ.get("SSLTUT_BROWSER_PROFILE", "smoke")
LOADING, MAPS, MATCHES = "01_loading_hip_ct", "03_uncertainty_maps", "04_embedding_correspondences"
LIMIT_BYTES, LIMIT_S = 5_000_000, 15


def wanting() -> str | None:
    """Why there can be no browser test here; None when there can."""
    if (program := lab.chromium()) is None:
        return "no Chromium found (install Debian's chromium, or set SSLTUT_CHROMIUM to a browser)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return f"{program} is here, playwright is not: pip install -e .[browser]"
    return None


@pytest.fixture(scope="module")
def window() -> Iterator[object]:
    """The browser; skips where there is none."""
    if why := wanting():
        (pytest.fail if os.environ.get("SSLTUT_BROWSER") == "required" else pytest.skip)(why)
    with lab.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def room(window: object, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab with the solved notebooks at PROFILE: its address and its folder."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for name in (LOADING, MAPS, MATCHES):
        book = load_notebook_node(str(tool.HERE / "solutions" / f"{name}.ipynb"))
        values = {"profile": PROFILE, "seed": 0, "out": ""}
        nbformat.write(parameterize_notebook(book, values, kernel_name="python3", language="python"), folder / "notebooks" / f"{name}.ipynb")
    with lab.jupyter(folder) as address:
        yield address, folder


@pytest.fixture(scope="module")
def desk(request: pytest.FixtureRequest, window: object, room: tuple[str, Path]) -> Iterator[lab.Desk]:
    """A notebook of the room, opened and run from top to bottom. One at a time: pytest sorts the tests by notebook."""
    opened = lab.Desk(window, *room)
    opened.open(f"{request.param}.ipynb")
    opened.run()
    yield opened
    opened.close()


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these notebooks."""
    return pytest.mark.parametrize("desk", names, indirect=True, ids=[name[:2] for name in names])


def test_the_guards_see_a_request_that_leaves_and_an_error(window: object, room: tuple[str, Path]) -> None:
    fresh = lab.Desk(window, *room)
    fresh.page.goto("about:blank")
    assert fresh.outside == [] and fresh.errors == []
    assert fresh.page.evaluate("() => fetch('https://example.org/x.js').then(() => 'came', () => 'refused')") == "refused"
    fresh.page.evaluate("() => console.error('loud')")
    assert fresh.outside == ["https://example.org/x.js"] and any("loud" in error for error in fresh.errors)
    fresh.close()


def test_without_a_browser_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_CHROMIUM", "/nowhere/chromium")
    assert lab.chromium() is None and "SSLTUT_CHROMIUM" in wanting()
    monkeypatch.delenv("SSLTUT_CHROMIUM")
    monkeypatch.setenv("PATH", "")
    assert lab.chromium() is None


@on(LOADING, MAPS, MATCHES)
def test_nothing_wanted_to_leave_the_machine_and_nothing_is_an_error(desk: lab.Desk) -> None:
    assert desk.outside == []
    assert desk.errors == []


@on(LOADING)
def test_dragging_a_slider_moves_the_slice(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.explore("))
    axial = shown.locator("img").first
    before, value = desk.settled(axial), shown.locator(".widget-readout").first
    was, handle = int(value.inner_text()), shown.locator(".noUi-handle").first.bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(x + 30, y, steps=6)
    desk.page.mouse.up()
    after = desk.settled(axial, until=lambda png: png != before)
    assert int(value.inner_text()) > was and (lab.pixels(after) != lab.pixels(before)).mean() > 0.05
    desk.shot("01_slice_dragged", shown)


@on(LOADING)
def test_arrow_keys_move_the_slice_one_by_one(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.explore("))
    coronal, value = shown.locator("img").nth(1), shown.locator(".widget-readout").nth(1)
    before, was = desk.settled(coronal), int(value.inner_text())
    shown.locator(".noUi-handle").nth(1).focus()
    desk.page.keyboard.press("ArrowRight")
    desk.settled(coronal, until=lambda png: png != before)
    assert int(value.inner_text()) == was + 1
    assert desk.ask("print(6 * 7)") == "42"


@on(LOADING)
def test_an_illness_on_a_slider_makes_another_hip(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("ipywidgets.interactive"))
    hip = shown.locator("img").first
    before = desk.settled(hip)
    shown.locator(".noUi-handle").first.focus()
    desk.page.keyboard.press("End")
    desk.settled(hip, until=lambda png: png != before)
    desk.shot("01_hip_to_order", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(MATCHES)
def test_correspondences_stand_in_space_within_the_limit_and_turn_under_the_mouse(desk: lab.Desk) -> None:
    cell = desk.cell("show.correspondences(")
    shown, start = desk.output(cell), time.monotonic()
    desk.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
    scene = shown.locator(".gl-container canvas").first
    scene.wait_for()
    before = desk.settled(scene, until=lambda png: lab.colours(png) > 30, seconds=LIMIT_S)
    seconds = time.monotonic() - start
    print(f"3D within {seconds:.1f} s ({PROFILE})")
    assert seconds < LIMIT_S
    box = scene.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(x + 120, y + 30, steps=6)
    desk.page.mouse.up()
    after = desk.settled(scene, until=lambda png: png != before)
    assert (lab.pixels(after) != lab.pixels(before)).mean() > 0.05
    desk.shot("04_correspondences_turned", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(LOADING, MAPS, MATCHES)
def test_a_saved_notebook_is_small_and_shows_its_pictures_again_without_its_kernel(desk: lab.Desk, room: tuple[str, Path]) -> None:
    desk.save()
    name = desk.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    path = desk.folder / "notebooks" / name
    assert path.stat().st_size < LIMIT_BYTES
    copy = path.with_name(f"saved_{name}")  # under another name no running kernel is found for it
    copy.write_bytes(path.read_bytes())
    book = nbformat.read(copy, as_version=4)
    pictures = {n: sum("image/png" in output.get("data", {}) for output in cell.get("outputs", [])) for n, cell in enumerate(book.cells)}
    again = lab.Desk(desk.browser, *room)
    again.open(copy.name)
    missing = {n: seen for n, count in pictures.items() if count and (seen := described(again, n)) < count}
    assert sum(pictures.values()) > 5 and missing == {}
    again.shot(f"{name[:2]}_reopened")
    again.close()


def described(desk: lab.Desk, cell: int) -> int:
    """How many pictures with alt text the output of a cell shows."""
    shown = desk.output(cell)
    desk.page.wait_for_timeout(300)
    return shown.evaluate("""area => Promise.all([...area.querySelectorAll('img')].map(img => img.decode().then(() => img, () => null)))
        .then(all => all.filter(img => img?.alt.trim() && img.getBoundingClientRect().width > 99).length)""")


@pytest.mark.parametrize("name", [MAPS, MATCHES], ids=["03", "04"])
def test_papermill_keeps_every_output_of_the_live_views(name: str, room: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")  # the viewer is imported, as in Lab: it must not swallow what comes after it
    papermill.execute_notebook(room[1] / "notebooks" / f"{name}.ipynb", tmp_path / "run.ipynb", kernel_name="python3", cwd=tmp_path, progress_bar=False,
                               execution_timeout=tour.TIMEOUT_S["smoke"], extra_arguments=["--log-level=ERROR"])
