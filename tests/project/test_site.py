"""A tiny site is built from a toy notebook; each promise is broken once, and the build says so."""

import base64
import io
from pathlib import Path

import accessible
import live_views
import method_pages
import nbformat
import numpy as np
import pytest
import site_check
import tool
import tour
import website
from PIL import Image
from toy_notebook import MASTER, write_master

from ssltut.methods.registry import METHODS

pytest.importorskip("sphinx", reason="Sphinx is not installed (pip install -e .[docs])")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One room of the package with one module, which is enough to see."""
    monkeypatch.setattr(website, "ROOMS", {"nets": "Networks"})
    monkeypatch.setattr(website, "modules", lambda room: ["ssltut.methods.schedules"])


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A small set of pages with the site's own settings."""
    folder = tmp_path / "docs"
    (folder / "_static").mkdir(parents=True)
    conf = (
        (website.HERE / "conf.py")
        .read_text(encoding="utf-8")
        .replace("HERE.parents if", f"[*HERE.parents, Path({str(website.ROOT)!r})] if")
    )
    (folder / "conf.py").write_text(conf)
    (folder / "_static" / "ssltut.css").write_text("img { max-width: 100% }")
    (folder / "notebooks.md").write_text(
        "# Notebooks\n\nRun at @@PROFILE@@.\n\n```{toctree}\n@@NOTEBOOKS@@\n```\n"
    )
    (folder / "glossary.md").write_text("# Glossary\n\n## entropy\n\nx\n\n## nat\n\ny\n")
    (folder / "index.md").write_text(
        "# Start\n\n$\\frac{1}{2}$ and"
        " [all](notebooks.md)\n\n```{toctree}\nnotebooks\ngallery\nglossary\napi/nets\n```\n"
    )
    return folder


def solved(tmp_path: Path, master: str = MASTER) -> list[Path]:
    write_master(tmp_path, master)
    tool.main(["build"], tmp_path)
    return [tmp_path / "solutions" / "00_toy.ipynb"]


def test_the_site_has_notebook_gallery_and_package_and_needs_no_network(
    tmp_path: Path, docs: Path, small: None, capsys: pytest.CaptureFixture
) -> None:
    start = website.site(solved(tmp_path), tmp_path / "build", docs=docs)
    names = ("notebooks/00_toy.html", "gallery.html", "api/nets.html", "index.html")
    page, gallery, api, index = ((start.parent / name).read_text() for name in names)
    assert 'alt="two points"' in page
    assert "injected" not in page
    assert "Your turn" not in page
    assert "badge.svg" not in page
    assert 'href="../glossary.html#entropy"' in page
    assert "schedules.py" not in page
    assert 'alt="two points"' in gallery
    assert 'href="notebooks/00_toy.html"' in gallery
    assert "ssltut.methods.schedules.ramp" in api
    assert 'class="formula" alt="\\frac{1}{2}"' in index
    assert "class" in start.with_name("notebooks.html").read_text()
    assert (tmp_path / "build/site/outside.txt").exists()
    run = tmp_path / "build/tour"
    before = (run / "00_toy.ipynb").stat().st_mtime
    assert website.executed(run, solved(tmp_path)) == "class"
    changed = solved(tmp_path, MASTER.replace("First toy", "Second toy"))
    assert website.executed(run, changed) is None
    assert website.executed(tmp_path / "nowhere", solved(tmp_path)) is None
    assert before == (run / "00_toy.ipynb").stat().st_mtime
    assert "they are listed, not tried" in capsys.readouterr().out


def test_a_link_that_leads_nowhere_in_a_page_stops_the_build(
    tmp_path: Path, docs: Path, small: None
) -> None:
    solutions = solved(tmp_path)
    (docs / "index.md").write_text((docs / "index.md").read_text() + "\n[gone](gone.md)\n")
    with pytest.raises(website.SiteError, match=r"(?s)Sphinx has objections.*gone\.md"):
        website.site(solutions, tmp_path / "build", docs=docs)


def test_a_picture_without_words_stops_the_build(tmp_path: Path, docs: Path, small: None) -> None:
    with pytest.raises(
        website.SiteError,
        match=r"below '1\. Formulas': a picture without alternative text\. Next: show it with",
    ):
        website.site(
            solved(
                tmp_path, MASTER.replace('plt.close(fig)\nshow.picture(fig, alt="two points")', "")
            ),
            tmp_path / "build",
            docs=docs,
        )


GOOD = {
    "a.html": (
        '<h1 id="top">x</h1><img alt="y" src="p.png"><a href="b.html#end">b</a><a'
        ' href="https://example.org/z">z</a>'
    ),
    "b.html": (
        '<p id="end"></p><a href="#end">here</a><link rel="stylesheet" href="s.css"><img alt="in"'
        ' src="data:image/png;base64,AA">'
    ),
    "p.png": "",
    "s.css": "",
}
BAD = {
    "no alt": ('<img src="p.png">', "without alternative text"),
    "empty alt": ('<img alt=" " src="p.png">', "without alternative text"),
    "no page": ('<a href="c.html">c</a>', "leads to c.html, which does not exist"),
    "no place": ('<a href="b.html#start">b</a>', "b.html#start names a place"),
    "no picture": ('<img alt="x" src="q.png">', "leads to q.png"),
    "script from elsewhere": (
        '<script src="https://x.org/x.js"></script>',
        "fetched from elsewhere",
    ),
    "style from elsewhere": (
        '<link rel="stylesheet" href="//x.org/x.css">',
        "fetched from elsewhere",
    ),
}


def written(folder: Path, more: str = "") -> Path:
    for name, text in GOOD.items():
        (folder / name).write_text(text + more * (name == "a.html"))
    return folder


def test_a_sound_site_has_no_problem_and_its_outer_links_are_listed(tmp_path: Path) -> None:
    assert site_check.check(written(tmp_path)) == ([], ["https://example.org/z"])


@pytest.mark.parametrize(("more", "said"), BAD.values(), ids=BAD)
def test_each_problem_is_found_and_named(more: str, said: str, tmp_path: Path) -> None:
    (problem,), _ = site_check.check(written(tmp_path, more))
    assert problem.startswith("a.html, line 1: ")
    assert said in problem


def test_paths_of_this_machine_and_widget_state_stay_out_of_a_page() -> None:
    output = nbformat.v4.new_output("stream", text=f"written to {website.ROOT}/build/tour")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1", outputs=[output])], metadata={"widgets": {"x": 1}}
    )
    page = website.page_of(book)
    assert page.cells[0].outputs[0].text == "written to build/tour"
    assert "widgets" not in page.metadata


def test_the_command_says_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise tour.TourError("the kernel died")

    monkeypatch.setattr(website, "site", fails)
    assert website.main([]) == 1
    assert "the kernel died" in capsys.readouterr().err


def test_every_room_of_the_package_has_a_page() -> None:
    rooms = {file.parent.name for file in (website.ROOT / "ssltut").glob("*/*.py")}
    assert set(website.ROOMS) == {""} | rooms
    listed = (website.HERE / "api.md").read_text(encoding="utf-8")
    assert [room for room in website.ROOMS if f"api/{room or 'package'}\n" not in listed] == []
    assert "ssltut.seeding" in website.modules("")
    assert "ssltut.methods.classic.cps" in website.modules("methods")


FAULTS = {
    "arrow": (
        '<a class="reference internal" href="a.html">All <i>pages</i></a><details><summary><span>'
        "</span></summary></details>",
        '<summary aria-label="Pages below: All pages">',
    ),
    "parameters": (
        "<dt>f(<dl>\n<dd>x: int,</dd>\n<dd>y: int</dd>\n</dl>)</dt>",
        '<dt>f(<span class="sig-lines"><span class="sig-line">x: int,</span>',
    ),
    "fold": ('<summary aria-label="Toggle hidden content"><p>Show</p>', "<summary><p>Show</p>"),
    "head": ('<tr><th class="head"><p></p></th></tr>', "<tr><td></td></tr>"),
    "blank": ('<th class="blank col0" >&nbsp;</th>', '<td class="blank col0" ></td>'),
    "back": ('<a class="viewcode-back" href="x.html#gone">[docs]</a>code', "code"),
}


@pytest.mark.parametrize(("page", "wanted"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_theme_is_repaired(page: str, wanted: str) -> None:
    assert wanted in accessible.repaired(page)
    assert accessible.repaired(accessible.repaired(page)) == accessible.repaired(page)


def test_a_sound_page_stays_as_it_is() -> None:
    page = "<dl><dt>word</dt><dd>meaning</dd></dl><details><summary>Hint</summary>x</details>"
    assert accessible.repaired(page) == page


def test_every_method_has_a_page_with_idea_equation_cost_record_and_source(tmp_path: Path) -> None:
    lines = "\n".join(method_pages.write(tmp_path))
    for name, method in METHODS.items():
        page = (tmp_path / "methods" / f"{name}.md").read_text(encoding="utf-8")
        assert f"[{method.title}](methods/{name}.md)" in lines
        file = f"{method.__module__.replace('.', '/')}.py"
        assert (website.ROOT / file).is_file()
        for part in (
            ": ",
            "\nEquation\n: ",
            method.fidelity,
            f"--method {name} ",
            f"{file}</a>",
        ):
            assert part in page
    matching = (tmp_path / "methods" / "embedding_matching.md").read_text(encoding="utf-8")
    assert "4.0 times the seconds of labels only" in matching
    assert "| 0.898 | 0.797 to 1.000 | labels only, same batch | -0.067 |" in matching
    control = (tmp_path / "methods" / "same_batch.md").read_text(encoding="utf-8")
    assert "is the baseline" in control
    assert "not measured" in control


def test_a_method_that_notebook_07_forgot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = method_pages.entries(method_pages.GALLERY.read_text(encoding="utf-8"))
    assert method_pages.entry_of(METHODS["cps"], rows).idea == "hard labels of the other"
    del rows["CPS"]
    with pytest.raises(KeyError, match="cps"):
        method_pages.entry_of(METHODS["cps"], rows)


def test_a_view_leads_to_its_like_that_moves() -> None:
    cells = [nbformat.v4.new_code_cell("show.slices(image)"), nbformat.v4.new_code_cell("show.x()")]
    book = nbformat.v4.new_notebook(cells=cells)
    assert len(website.page_of(book).cells) == 2
    first, way, second = website.page_of(book, moving=True).cells
    assert 'href="../views.html#view-slices"' in way.source
    assert (first.source, second.source) == ("show.slices(image)", "show.x()")


def test_tiles_hold_every_slice_with_the_head_up_and_the_right_on_the_left() -> None:
    label = np.zeros((5, 6, 9), np.uint8)
    label[4, 1, 8] = 2
    tiles = live_views.tiled(live_views.painted(label, {2: "#FF0000"}))
    image = Image.open(io.BytesIO(base64.b64decode(tiles["coronal"].partition(",")[2])))
    assert image.size == (5 * live_views.COLUMNS, 9)
    (row, column), *others = np.argwhere(np.asarray(image)[..., 3]).tolist()
    # Of slice y = 1: x = 4 of 5 is the patient's right, at the left edge; z = 8 of 9 is the top.
    assert (row, column, others) == (0, 1 * 5 + 0, [])


def test_every_page_of_docs_is_on_the_site() -> None:
    start = (website.HERE / "index.md").read_text(encoding="utf-8")
    names = {file.stem for file in website.HERE.glob("*.md")} - {"index"}
    assert {name for name in names if f"\n{name}\n" not in start} == set()
