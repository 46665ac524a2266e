"""The tour on toy notebooks: pages that need no network, one table, failures that say where."""

import base64
import re
from pathlib import Path

import nbformat
import pages
import papermill
import pytest
import tool
import tour
from toy_notebook import MASTER, write_master

MEMORY = (
    MASTER.replace("First toy", "Second toy")
    .replace("00_toy", "01_more")
    .replace("# %%\nimport sys", "# %%\nfilled = bytearray(b'1') * 300 * 2**20\nimport sys")
)


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The build folder of a tour over two toy notebooks."""
    here = tmp_path_factory.mktemp("toys")
    write_master(here)
    write_master(here, MEMORY, "01_more")
    # Without a number it is no part of the tour: it would fail.
    write_master(here, "# %%\n1 / 0", "later")
    tool.main(["build"], here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "agg")
        assert tour.main([], here / "solutions", here / "build") == 0
    return here / "build"


def test_tour_leaves_notebooks_pages_and_numbers(toured: Path) -> None:
    assert sorted(path.name for path in toured.iterdir() if path.is_file()) == [
        "00_toy.html",
        "00_toy.ipynb",
        "01_more.html",
        "01_more.ipynb",
        "glossary.html",
        "index.html",
        "results.csv",
    ]
    assert (toured / "results.csv").read_text().splitlines() == [
        "notebook,quantity,value,unit,seed",
        "00_toy,thickness,1.50,mm,0",
        "01_more,thickness,1.50,mm,0",
    ]


def test_kernels_get_the_parameters_the_static_frontend_and_a_folder_of_their_own(
    toured: Path,
) -> None:
    outputs = [
        output
        for cell in nbformat.read(toured / "00_toy.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert outputs[0].text == "class static work\n"
    assert [o.text for o in outputs if "Exercise" in o.get("text", "")] == [
        f"Exercise {n}: right.\n" for n in (1, 2, 3)
    ]


def test_pages_need_no_network_and_run_nothing(toured: Path) -> None:
    for path in toured.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert pages.loads(text) == []
        assert "<script" not in text
        assert set(re.findall(r'https?://[^"\s<]+', text)) <= {
            "https://colab.research.google.com/x",
            "https://doi.org/10.1002/j.1538-7305.1948.tb01338.x",
        }  # links, loaded by nobody


def test_page_holds_pictures_formulas_and_text(toured: Path) -> None:
    text = (toured / "00_toy.html").read_text(encoding="utf-8")
    assert '<img alt="two points" src="data:image/png;base64,' in text
    assert "for the teacher" in text
    assert text.count("data:image/svg+xml;base64,") == 2
    assert r'alt="H = -\sum_c p_c \log p_c"' in text
    assert "costs $5 or $6" in text
    assert "<code>$x$</code>" in text
    assert '<a href="https://colab.research.google.com/x">Open in Colab</a>' in text


def test_links_lead_to_the_glossary_and_to_the_pages_beside(toured: Path) -> None:
    page = (toured / "00_toy.html").read_text(encoding="utf-8")
    assert 'href="glossary.html#entropy"' in page
    words = (toured / "glossary.html").read_text(encoding="utf-8")
    assert 'id="entropy"' in words
    assert 'id="hd95"' in words  # as the heading is HD95, JupyterLab and this page need it
    text = pages.links_of_a_page("[b](01_more.ipynb), [c](01_more.ipynb#d), [e](../x.ipynb)")
    assert text == "[b](01_more.html), [c](01_more.html#d), [e](../x.ipynb)"


def test_index_has_titles_thumbnails_and_the_table(toured: Path) -> None:
    text = (toured / "index.html").read_text(encoding="utf-8")
    assert '<a href="00_toy.html">00 · First toy</a>' in text
    assert '<a href="01_more.html">01 · Second toy</a>' in text
    assert text.count('<img alt="two points" src="data:image/png;base64,') == 2
    assert "<td>thickness</td>" in text
    plain, filled = (float(mib.replace(",", "")) for mib in re.findall(r"([\d,]+) MiB", text))
    assert 290 < filled - plain < 420  # the second toy fills 300 MiB


def failing(tmp_path: Path, code: str, **options: object) -> str:
    write_master(tmp_path, MASTER.replace("# %%\nimport sys", f"# %%\n{code}\nimport sys"))
    tool.main(["build"], tmp_path)
    notebook = tmp_path / "solutions" / "00_toy.ipynb"
    with pytest.raises(tour.TourError) as error:
        tour.run(
            notebook,
            tmp_path / "build" / notebook.name,
            profile="smoke",
            out=tmp_path / "out",
            cwd=tmp_path / "work",
            **options,
        )
    assert (tmp_path / "build" / notebook.name).exists()
    return str(error.value)


def test_failing_cell_is_named_with_its_error_and_the_partial_notebook(tmp_path: Path) -> None:
    message = failing(tmp_path, "1 / 0")
    assert message.startswith(
        "00_toy.ipynb: cell In [4] failed: ZeroDivisionError: division by zero\n    1 / 0\n"
    )
    assert message.endswith(f"Partial notebook: {tmp_path / 'build' / '00_toy.ipynb'}")
    assert len(message.splitlines()) < 8


def test_cell_that_runs_too_long_is_stopped(tmp_path: Path) -> None:
    assert "timed out" in failing(tmp_path, "import time; time.sleep(60)", timeout_s=1)


def test_dead_kernel_is_said_so(tmp_path: Path) -> None:
    assert re.search(r"the kernel died at [\d,]+ MiB", failing(tmp_path, "import os; os._exit(9)"))


def test_missing_parameter_is_found_before_anything_runs(tmp_path: Path) -> None:
    write_master(tmp_path, MASTER.replace("\nseed = 1\n", "\n"))
    tool.main(["build"], tmp_path)
    with pytest.raises(tour.TourError, match=r"no parameter seed\. Next: add it"):
        tour.run(
            tmp_path / "solutions" / "00_toy.ipynb",
            tmp_path / "x.ipynb",
            profile="smoke",
            out=tmp_path / "out",
            cwd=tmp_path,
        )
    assert not (tmp_path / "out").exists()


def test_command_line_reports_a_failure_and_drops_the_index_of_an_earlier_tour(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "index.html").write_text("old")
    assert tour.main([], tmp_path, tmp_path / "build") == 1
    assert f"{tmp_path}: no notebooks. Next: make notebooks" in capsys.readouterr().err
    write_master(tmp_path, MASTER.replace("\nout = ", "\nelsewhere = "))
    tool.main(["build"], tmp_path)
    assert tour.main([], tmp_path / "solutions", tmp_path / "build") == 1
    assert not (tmp_path / "build" / "index.html").exists()
    assert "no parameter out" in capsys.readouterr().err


LOADED = {
    "script": '<script src="https://x/x.js"></script>',
    "inline script": "<script>go()</script>",
    "picture": '<img src="https://x/a.png">',
    "file": '<img src="a.png">',
    "style sheet": '<link rel="stylesheet" href="//x.css">',
    "frame": '<iframe src="https://x"></iframe>',
    "style": "<style>@import 'x.css'</style>",
    "font": "<style>a{src:url(https://x/f.woff)}</style>",
    "attribute": '<p style="background:url(https://x)">',
}
QUIET = {
    "link": '<a href="https://example.org">x</a>',
    "picture inside": '<img src="data:image/png;base64,AA==">',
    "style": "<style>a{background:url(data:image/png;base64,AA)}</style>",
    "text": "<pre>@import url(https://x) src='https://x'</pre>",
}


@pytest.mark.parametrize("body", LOADED.values(), ids=LOADED)
def test_loads_finds_what_a_page_would_fetch_or_run(body: str) -> None:
    assert len(pages.loads(body)) == 1


@pytest.mark.parametrize("body", QUIET.values(), ids=QUIET)
def test_loads_is_silent_on_what_is_inside_or_only_linked(body: str) -> None:
    assert pages.loads(body) == []


def output_page(data: dict[str, object]) -> str:
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", data)])
    widgets = {"application/vnd.jupyter.widget-state+json": {}}
    return pages.notebook_page(
        nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})
    )


def test_a_page_takes_the_picture_of_a_live_view_and_says_where_there_is_none() -> None:
    png = base64.b64encode(b"picture").decode()
    live = output_page({"text/html": "<script src='https://x'></script>", "image/png": png})
    assert pages.loads(live) == []
    assert png in live
    assert pages.NO_PICTURE in output_page({"application/vnd.plotly.v1+json": {}})
    assert pages.NO_PICTURE not in live


def test_a_page_that_would_load_something_stops_the_tour(tmp_path: Path) -> None:
    with pytest.raises(tour.TourError, match=r"a\.html: would load a script"):
        tour._write(tmp_path / "a.html", output_page({"text/html": "<script>go()</script>"}))
    tour._write(tmp_path / "a.html", output_page({"text/html": "<b>fine</b>"}))


def test_a_formula_matplotlib_cannot_draw_stays_tex() -> None:
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(r"$\begin{matrix}a\end{matrix}$ and $x^2$")]
    )
    text = pages.notebook_page(book)
    assert r"<code>\begin{matrix}a\end{matrix}</code>" in text
    assert text.count("data:image/svg+xml") == 1


def test_collect_joins_tables_with_different_columns(tmp_path: Path) -> None:
    (tmp_path / "00_curve.csv").write_text("quantity,value\ndice,0.90\n")
    (tmp_path / "03_b.csv").write_text("value,unit,notebook\n1e-3,nats,wrong\n")
    (tmp_path / "notes.csv").write_text("x\n1\n")
    notebooks = [Path("00_start.ipynb"), Path("03_maps.ipynb")]
    assert tour.collect(tmp_path, notebooks).to_csv(index=False).splitlines() == [
        "notebook,quantity,value,unit",
        "00_start,dice,0.90,",
        "03_maps,,1e-3,nats",
    ]
    assert tour.collect(tmp_path / "nowhere", notebooks).empty


def test_papermill_reads_the_parameters_of_a_built_copy(tmp_path: Path) -> None:
    write_master(tmp_path)
    tool.main(["build"], tmp_path)
    assert set(papermill.inspect_notebook(str(tmp_path / "00_toy.ipynb"))) == set(tour.PARAMETERS)


def test_a_picture_of_the_text_is_inside_the_page() -> None:
    text = "![two maps](../figures/03_two_entropies.png)"
    cells = [nbformat.v4.new_markdown_cell(text)]
    page = pages.notebook_page(nbformat.v4.new_notebook(cells=cells))
    assert '<img alt="two maps" src="data:image/png;base64,' in page
    assert pages.loads(page) == []


def test_what_is_folded_in_the_text_stays_folded() -> None:
    text = "<details><summary>Hint</summary>\n\nTry *this*.\n\n</details>\n"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# A\n\n{text}")])
    folded = re.search(r"<details>(.*?)</details>", pages.notebook_page(book), re.DOTALL)
    assert folded
    assert "<em>this</em>" in folded[1]
