"""The site in a browser: views move without a kernel and without a network, the search finds words,
nothing is wider than a phone, and axe-core finds no serious fault.

A small site is built with the real page of views; SSLTUT_SITE names one that ``make site`` built
(build/site/html), of which every page is looked at. axe-core is read from SSLTUT_AXE
(axe.min.js of the npm package axe-core), else from the Python package axe-playwright-python; where
there is neither, that test skips and says so. Screenshots are kept in build/browser.
"""

import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import pytest
import tool
import website
from toy_notebook import write_master

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

pytest.importorskip("sphinx", reason="Sphinx is not installed (pip install -e .[docs])")
pytestmark = pytest.mark.timeout(3 * lab.PATIENCE_S)

WIDTHS = {"desk": (1280, 800), "phone": (390, 844)}
READY = "() => [...document.querySelectorAll('[data-view]')].every(box => box.dataset.ready)"
# Faults of these kinds keep a reader out; "minor" and "moderate" ones are inconvenient.
GRAVE = ("serious", "critical")
Opener = Callable[..., "Page"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A built site: the one that SSLTUT_SITE names, else a small one."""
    if built := os.environ.get("SSLTUT_SITE"):
        return Path(built).resolve()
    if why := lab.wanting():
        pytest.skip(why)  # a site that nobody looks at need not be built
    folder = tmp_path_factory.mktemp("site")
    docs = folder / "docs"
    (docs / "_static").mkdir(parents=True)
    conf = (website.HERE / "conf.py").read_text(encoding="utf-8")
    root = f"[*HERE.parents, Path({str(website.ROOT)!r})] if"
    (docs / "conf.py").write_text(conf.replace("HERE.parents if", root))
    for file in (website.HERE / "_static").iterdir():
        (docs / "_static" / file.name).write_bytes(file.read_bytes())
    views = (website.HERE / "views.md").read_text(encoding="utf-8")
    (docs / "views.md").write_text(re.sub(r"\(notebooks/\w+\.ipynb\)", "(notebooks.md)", views))
    (docs / "notebooks.md").write_text("# Notebooks\n\n```{toctree}\n@@NOTEBOOKS@@\n```\n")
    (docs / "glossary.md").write_text("# Glossary\n\n## entropy\n\nIn nats.\n\n## nat\n\ny\n")
    (docs / "index.md").write_text(
        "# Start\n\n[Views](views.md)\n\n```{toctree}\nviews\nnotebooks\ngallery\nglossary\n"
        "api/nets\n```\n"
    )
    write_master(folder)
    tool.main(["build"], folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(website, "ROOMS", {"nets": "Networks"})
        solved = [folder / "solutions" / "00_toy.ipynb"]
        return website.site(solved, folder / "build", docs=docs).parent


@pytest.fixture
def opened(window: "Browser", site: Path) -> Iterator[Opener]:
    """Opens a page of the site from its folder; afterwards nothing may have wanted to leave the
    machine, and nothing may have been an error.
    """
    context = window.new_context()
    page, outside, errors = context.new_page(), [], []
    page.set_default_timeout(1000 * lab.PATIENCE_S)
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:", "blob:")) or outside.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: told(said) and errors.append(said.text))

    def go(name: str, width: str = "desk") -> "Page":
        page.set_viewport_size(dict(zip(("width", "height"), WIDTHS[width], strict=True)))
        file, _, query = name.partition("?")
        page.goto(f"{(site / file).as_uri()}?{query}")
        return page

    yield go
    context.close()
    assert outside == []
    assert errors == []


def told(said: "ConsoleMessage") -> bool:
    """Whether a page complains; what a browser advises about speed is no complaint."""
    return said.type == "error" or "the picture stays" in said.text


def shot(page: "Page", name: str) -> None:
    lab.SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=lab.SHOTS / f"site_{name}.png", full_page=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_views_move_without_a_kernel(opened: Opener, width: str) -> None:
    page = opened("views.html", width)
    page.wait_for_function(READY)
    slices = page.locator("#view-slices")
    axial, said = slices.locator("canvas").first, slices.locator(".readout")
    before, words = axial.screenshot(), said.inner_text()
    assert "truth: femur · teacher: hip bone" in words
    slices.locator("input[type=range]").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert said.inner_text() != words
    assert axial.screenshot() != before
    coloured = axial.screenshot()
    slices.get_by_label("the image alone").check()
    assert lab.colours(axial.screenshot()) < lab.colours(coloured)
    box = axial.bounding_box()
    axial.click(position={"x": 0.25 * box["width"], "y": 0.5 * box["height"]})
    assert slices.locator("input[type=range]").nth(2).input_value() == "47"
    scene = page.locator("#view-femur .gl-container canvas").first
    scene.scroll_into_view_if_needed()
    front = scene.screenshot()
    assert lab.colours(front) > 10
    page.locator("#view-femur").get_by_role("button", name="from the back").click()
    page.wait_for_timeout(500)
    assert (lab.pixels(scene.screenshot()) != lab.pixels(front)).mean() > 0.05
    shot(page, f"views_{width}")


def test_without_scripts_the_pictures_stay(window: "Browser", site: Path) -> None:
    context = window.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "views.html").as_uri())
    assert page.locator(".view img").count() == 3
    assert all(picture.get_attribute("alt") for picture in page.locator(".view img").all())
    context.close()


def test_the_search_finds_a_word(opened: Opener) -> None:
    page = opened("search.html?q=entropy")
    first = page.locator("#search-results li a").first
    first.wait_for()
    names = page.locator("#search-results li a").all_inner_texts()
    assert any("lossary" in name or "entropy" in name for name in names)


def pages_of(site: Path) -> list[str]:
    """The pages that are looked at: all but the package's code."""
    files = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    return [str(file) for file in files if file.parts[0] not in ("_static", "_modules")]


def test_nothing_is_wider_than_a_phone(opened: Opener, site: Path) -> None:
    wide = {}
    for name in pages_of(site):
        page = opened(name, "phone")
        over = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if over > 0:
            wide[name] = over
    assert wide == {}


def axe() -> Path | None:
    """The script of axe-core; None where there is none."""
    if named := os.environ.get("SSLTUT_AXE"):
        return Path(named)
    found = find_spec("axe_playwright_python")
    folders = found.submodule_search_locations if found else None
    return next(Path(folders[0]).rglob("axe.min.js"), None) if folders else None


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_serious_fault(opened: Opener, site: Path, width: str) -> None:
    if (script := axe()) is None:
        pytest.skip("no axe-core: pip install axe-playwright-python, or set SSLTUT_AXE")
    found = []
    for name in pages_of(site):
        page = opened(name, width)
        if name == "views.html":
            page.wait_for_function(READY)
        page.add_script_tag(path=script)
        # "preload" would fetch style sheets again, which a page of a folder must not.
        faults = page.evaluate("() => axe.run({ preload: false }).then(told => told.violations)")
        found += [
            f"{name}: {fault['id']} ({fault['impact']}), {node['html'][:120]}"
            for fault in faults
            for node in fault["nodes"]
            if fault["impact"] in GRAVE
        ]
    assert found == []
