"""Notebooks 00, 01, 03 and 04 in a browser without the internet: what the screen shows is asserted.

Screenshots are kept in build/browser. ``SSLTUT_CHROMIUM`` names the browser,
``SSLTUT_BROWSER_PROFILE`` how much the notebooks run (default: smoke). Without a browser these
tests skip, unless ``SSLTUT_BROWSER=required``, as ``make test-browser`` says.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import nbformat
import pytest
import tool
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator


PROFILE = os.environ.get("SSLTUT_BROWSER_PROFILE", "smoke")
START, LOADING, MAPS = "00_start_here", "01_loading_hip_ct", "03_uncertainty_maps"
MATCHES = "04_embedding_correspondences"
LIVE = "application/vnd.jupyter.widget-view+json"
LIMIT_BYTES = 5_000_000
# A whole notebook is run before the first of its tests: on a busy machine that takes a while.
pytestmark = pytest.mark.timeout(4 * lab.PATIENCE_S)
# Where itkwidgets is installed, its JupyterLab extension (not ours, and it runs before any notebook
# is opened) asks this host for a script when JupyterLab starts, and says four times that it did not
# come. data_scripts/install_viewer.py ends that. Nothing else is forgiven.
KNOWN = "https://cdn.jsdelivr.net/npm/vue@2.6.10/dist/vue.min.js"


@pytest.fixture(scope="module")
def server(
    window: "Browser", tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[tuple[str, Path]]:
    """A JupyterLab with the solved notebooks at PROFILE: its address and its folder."""
    folder = tmp_path_factory.mktemp("lab")
    # The server's root is notebooks/, where it takes ../figures of a solution for its own.
    shutil.copytree(tool.HERE / "figures", folder / "notebooks" / "figures")
    for name in (START, LOADING, MAPS, MATCHES):
        book = load_notebook_node(str(tool.HERE / "solutions" / f"{name}.ipynb"))
        values = {"profile": PROFILE, "seed": 0, "out": ""}
        nbformat.write(
            parameterize_notebook(book, values, kernel_name="python3", language="python"),
            folder / "notebooks" / f"{name}.ipynb",
        )
    # Pages cannot reach the internet here; a kernel that can would choose a viewer that needs it.
    from ssltut.show.live import volume as viewer

    viewers = {"SSLTUT_VIEWER": "plotly"} if viewer.reachable() else {}
    with lab.jupyter(folder, **viewers) as address:
        yield address, folder


@pytest.fixture(scope="module")
def desk(
    request: pytest.FixtureRequest, window: "Browser", server: tuple[str, Path]
) -> Iterator[lab.Desk]:
    """A notebook of the server, opened and run from top to bottom. One at a time: pytest sorts the
    tests by notebook.
    """
    opened = lab.Desk(window, *server)
    opened.open(f"{request.param}.ipynb")
    opened.run()
    yield opened
    opened.close()


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these notebooks."""
    return pytest.mark.parametrize("desk", names, indirect=True, ids=[name[:2] for name in names])


def test_the_guards_see_a_request_that_leaves_and_an_error(
    window: "Browser", server: tuple[str, Path]
) -> None:
    fresh = lab.Desk(window, *server)
    fresh.page.goto("about:blank")
    assert fresh.outside == []
    assert fresh.errors == []
    fetch = "() => fetch('https://example.org/x.js').then(() => 'came', () => 'refused')"
    assert fresh.page.evaluate(fetch) == "refused"
    with fresh.page.expect_console_message():
        fresh.page.evaluate("() => console.error('loud')")
    assert fresh.outside == ["https://example.org/x.js"]
    assert any("loud" in error for error in fresh.errors)
    fresh.close()


def test_without_a_browser_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_CHROMIUM", "/nowhere/chromium")
    assert lab.chromium() is None
    assert "SSLTUT_CHROMIUM" in lab.wanting()
    monkeypatch.delenv("SSLTUT_CHROMIUM")
    monkeypatch.setenv("PATH", "")
    assert lab.chromium() is None


@on(START, LOADING, MAPS, MATCHES)
def test_nothing_wanted_to_leave_the_machine_and_nothing_is_an_error(desk: lab.Desk) -> None:
    assert [address for address in desk.outside if KNOWN not in address] == []
    assert [error for error in desk.errors if KNOWN not in error] == []


@on(START)
def test_a_click_on_the_femur_is_answered(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.explore_surface("))
    scene, answer = shown.locator(".gl-container canvas").first, shown.locator(".ssltut-answer")
    desk.settled(scene, until=lambda png: lab.colours(png) > 30)
    before = answer.inner_text()
    desk.page.mouse.move(*lab.on_surface(scene))
    desk.settled(scene)  # a click counts for the point that plotly has found under the mouse
    text = changed(desk, answer, before, desk.press)
    desk.shot("00_femur_clicked", shown)
    assert all(word in text for word in ("truth", "teacher", "entropy"))


@on(LOADING)
def test_dragging_a_slider_moves_the_slice(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.slices("))
    axial = shown.locator(".ssltut-axial img, img.ssltut-axial").first
    value = shown.locator(".ssltut-z .widget-readout")
    before, was = desk.settled(axial), int(value.inner_text())
    desk.drag(*lab.middle(shown.locator(".ssltut-z .noUi-handle")), 30, 0)
    after = desk.settled(axial, until=lambda png: png != before)
    assert int(value.inner_text()) > was
    assert (lab.pixels(after) != lab.pixels(before)).mean() > 0.05
    desk.shot("01_slice_dragged", shown)


@on(LOADING)
def test_arrow_keys_move_the_slice_one_by_one(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.slices("))
    value = shown.locator(".ssltut-y .widget-readout")
    was = int(value.inner_text())
    shown.locator(".ssltut-y .noUi-handle").focus()
    desk.page.keyboard.press("ArrowRight")
    desk.page.wait_for_function(
        "([area, text]) => area.querySelector('.ssltut-y .widget-readout').textContent === text",
        arg=[shown.element_handle(), str(was + 1)],
    )
    assert desk.ask("print(6 * 7)") == "42"


@on(LOADING)
def test_a_click_on_the_picture_reads_the_voxel(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.slices("))
    readout, coronal = shown.locator(".ssltut-readout"), shown.locator(".ssltut-coronal img")
    before = readout.inner_text()
    text = changed(desk, readout, before, lambda: coronal.click(position={"x": 60, "y": 90}))
    assert text.startswith(("crosshair", "cursor"))
    assert "HU" in text


@on(LOADING)
def test_planes_stand_beside_each_other_in_a_narrow_window(desk: lab.Desk) -> None:
    desk.page.set_viewport_size({"width": 1366, "height": 768})
    shown = desk.output(desk.cell("show.slices("))
    planes = [shown.locator(f".ssltut-{plane} img") for plane in ("axial", "coronal", "sagittal")]
    desk.settled(planes[0])
    boxes = [plane.bounding_box() for plane in planes]
    desk.shot("01_narrow")
    width, height = desk.size
    desk.page.set_viewport_size({"width": width, "height": height})
    for left, right in pairwise(boxes):
        assert left["x"] + left["width"] <= right["x"]


@on(LOADING)
def test_an_illness_on_a_slider_makes_another_hip(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.interact("))
    hip = shown.locator("img.ssltut-picture")
    before = desk.settled(hip)
    shown.locator(".ssltut-osteoarthritis .noUi-handle").focus()
    desk.page.keyboard.press("Home")
    after = desk.settled(hip, until=lambda png: png != before)
    desk.shot("01_hip_to_order", shown)
    assert (lab.pixels(after) != lab.pixels(before)).mean() > 0.01
    assert desk.ask("print(6 * 7)") == "42"


@on(MAPS)
def test_the_threshold_moves_the_count_the_overlay_and_the_ring_on_the_curve(
    desk: lab.Desk,
) -> None:
    shown = desk.output(desk.cell("show.explore_uncertainty("))
    count, curve = shown.locator(".ssltut-counts"), shown.locator("img.ssltut-curve")
    axial = shown.locator(".ssltut-axial img, img.ssltut-axial").first
    words, ring, overlay = count.inner_text(), desk.settled(curve), desk.settled(axial)
    nats = lab.middle(shown.locator(".ssltut-nats .noUi-handle"))
    text = changed(desk, count, words, lambda: desk.drag(*nats, 12, 0))
    assert any(letter.isdigit() for letter in text)
    desk.settled(curve, until=lambda png: png != ring)
    desk.settled(axial, until=lambda png: png != overlay)
    desk.shot("03_threshold_dragged", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(MAPS)
def test_a_click_on_the_map_of_embeddings_leads_to_its_voxel(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.explore_embeddings("))
    description, points = shown.locator(".ssltut-description"), shown.locator(".ssltut-map img")
    desk.settled(points)
    before, box = description.inner_text(), points.bounding_box()
    place = {"x": 0.5 * box["width"], "y": 0.4 * box["height"]}
    changed(desk, description, before, lambda: points.click(position=place))
    desk.shot("03_embedding_clicked", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(MATCHES)
def test_correspondences_stand_in_space_and_turn_under_the_mouse(desk: lab.Desk) -> None:
    shown = desk.output(desk.cell("show.correspondences("))
    scene = shown.locator(".gl-container canvas").first
    before = desk.settled(scene, until=lambda png: lab.colours(png) > 30)
    desk.drag(*lab.middle(scene), 120, 30)
    after = desk.settled(scene, until=lambda png: png != before)
    assert (lab.pixels(after) != lab.pixels(before)).mean() > 0.05
    desk.shot("04_correspondences_turned", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(MATCHES)
def test_a_click_picks_another_voxel_and_the_lines_follow(desk: lab.Desk) -> None:
    shown, answer, scene = matches(desk)
    words = answer.inner_text()
    lines = desk.settled(scene, until=lambda png: lab.colours(png) > 30)
    labelled = desk.settled(reference(shown))
    desk.shot("04_matches", shown)
    changed(
        desk,
        answer,
        words,
        lambda: shown.locator(".ssltut-target .ssltut-coronal img").click(
            position={"x": 150, "y": 120}
        ),
    )
    desk.settled(scene, until=lambda png: png != lines)
    desk.settled(reference(shown), until=lambda png: png != labelled)
    desk.shot("04_voxel_clicked", shown)
    assert desk.ask("print(6 * 7)") == "42"


@on(MATCHES)
def test_another_kernel_and_another_k_give_another_answer(desk: lab.Desk) -> None:
    shown, answer, _ = matches(desk)
    words = answer.inner_text()
    choice = shown.locator(".ssltut-kernel select")
    other = next(
        name
        for name in choice.locator("option").all_inner_texts()
        if name != choice.evaluate("box => box.selectedOptions[0].text")
    )
    text = changed(desk, answer, words, lambda: choice.select_option(other))
    assert other.replace("_", " ") in text.replace("_", " ")
    shown.locator(".ssltut-k .noUi-handle").focus()
    changed(desk, answer, text, lambda: desk.page.keyboard.press("ArrowLeft"))
    desk.shot("04_kernel_changed", shown)
    assert desk.ask("print(6 * 7)") == "42"


def matches(desk: lab.Desk) -> "tuple[Locator, Locator, Locator]":
    """The correspondence explorer: its output, its answer and its lines in 3D."""
    shown = desk.output(desk.cell("show.explore_matches("))
    scene = shown.locator(".ssltut-plot .gl-container canvas").first
    scene.wait_for()
    return shown, shown.locator(".ssltut-answer"), scene


def reference(shown: "Locator") -> "Locator":
    """The labelled scan's axial slice."""
    return shown.locator(".ssltut-reference img").first


def changed(desk: lab.Desk, of: "Locator", was: str, act: Callable[[], object]) -> str:
    """Do ``act`` and wait until ``of`` no longer says what it did; returns what it says."""
    act()
    desk.page.wait_for_function(
        "([shown, was]) => shown.innerText !== was", arg=[of.element_handle(), was]
    )
    return of.inner_text()


@on(START, LOADING, MAPS, MATCHES)
def test_a_saved_notebook_is_small_and_shows_its_pictures_again_without_its_kernel(
    desk: lab.Desk, server: tuple[str, Path]
) -> None:
    desk.save()
    name = desk.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    path = desk.folder / "notebooks" / name
    assert path.stat().st_size < LIMIT_BYTES
    copy = path.with_name(f"saved_{name}")  # under another name no running kernel is found for it
    copy.write_bytes(path.read_bytes())
    book = nbformat.read(copy, as_version=4)
    pictures = {
        n: sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        for n, cell in enumerate(book.cells)
    }
    again = lab.Desk(desk.browser, *server)
    again.open(copy.name)
    for n, count in pictures.items():
        if count:
            wait_for_pictures(again, n, count)
    bare = [
        n
        for n, cell in enumerate(book.cells)
        if not pictures[n]
        and any(LIVE in output.get("data", {}) for output in cell.get("outputs", []))
    ]
    assert sum(pictures.values()) >= 3
    assert bare == [], "a live view leaves no picture"
    assert again.page.get_by_text("Error displaying widget").filter(visible=True).count() == 0
    again.shot(f"{name[:2]}_reopened")
    again.close()


def wait_for_pictures(desk: lab.Desk, cell: int, count: int) -> None:
    """Wait until the output of a cell shows ``count`` pictures with alternative text."""
    desk.page.wait_for_function(
        """([area, count]) => [...area.querySelectorAll('img')].filter(img => img.naturalWidth > 0
        && img.alt.trim() && img.getBoundingClientRect().width > 99).length >= count""",
        arg=[desk.output(cell).element_handle(), count],
    )
