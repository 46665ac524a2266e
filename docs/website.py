"""Make the site: ``python docs/website.py [--profile smoke]`` leaves build/site/html.

The notebooks come from ``build/tour`` where that holds runs of today's solutions, else the tour is
run first. Sphinx turns them, the pages in this folder, a page for each method (``method_pages``),
views that move (``live_views``), a gallery of the notebooks' pictures and the package's docstrings
into pages that need no network, and ``accessible`` repairs what the theme does to readers who hear
them. A warning, a link inside the site that leads nowhere, a picture without alternative text, or
anything that would be fetched from elsewhere fails the build.
"""

import argparse
import base64
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))

import accessible
import live_views
import method_pages
import nbformat
import pages
import tool
import tour
from site_check import check

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROOMS = {
    "": "Public names and the lowest floor",
    "data": "Data",
    "nets": "Networks",
    "synthetic": "Synthetic scans",
    "io": "Files",
    "methods": "Methods",
    "training": "Training and prediction",
    "evaluation": "Comparison",
    "inspection": "Looking into a network",
    "show": "Views",
    "intake": "From a folder of scans to a cohort",
    "cli": "The command line",
}
FIRST = (
    "interact",
    "explore_uncertainty",
    "explore_matches",
    "correspondences",
)  # on the start page
PROMISES = "../RELIABILITY.md"  # a page of the project that belongs to the site
FIGURES = {  # where pictures of the results lie in the project, and on the site
    "../results/figures/": "figures/",
    "../results/archive/figures/": "figures/archive/",
}
# Views of the notebooks that move on a page of the site.
MOVING = {"explore_surface": "femur", "slices": "slices", "correspondences": "lines"}
NOTEBOOK_FIGURES = ROOT / "notebooks" / "figures"
PLACES = {str(ROOT / "build"): "build", str(ROOT): ".", str(Path.home()): "~"}


class SiteError(Exception):
    """The site cannot be built, or what was built is not as promised; the message says what, where
    and what next.
    """


def executed(folder: Path, solutions: list[Path]) -> str | None:
    """The profile at which ``folder`` holds runs of just these solutions; None when one is missing,
    failed, or older than its solution.
    """
    profiles = set()
    for solution in solutions:
        if not (folder / solution.name).exists():
            return None
        run = nbformat.read(folder / solution.name, as_version=4)
        parameters = [c.source for c in run.cells if "injected-parameters" in tool.tags(c)]
        sources = [c.source for c in run.cells if "injected-parameters" not in tool.tags(c)]
        wanted = [c.source for c in nbformat.read(solution, as_version=4).cells]
        kinds = {o.output_type for c in run.cells for o in c.get("outputs", [])}
        if "error" in kinds or sources != wanted:
            return None
        profiles.update(re.findall(r'^profile = "(\w+)"', "\n".join(parameters), re.MULTILINE))
    return profiles.pop() if len(profiles) == 1 else None


def page_of(run: nbformat.NotebookNode, *, moving: bool = False) -> nbformat.NotebookNode:
    """An executed notebook for Sphinx: no badge from elsewhere, answers folded, no parameters of
    the tour, no paths of this machine. ``moving``: views lead to their like on the page of views.
    """
    book = nbformat.from_dict(run)
    book.metadata.pop("widgets", None)
    book.cells = [cell for cell in book.cells if "injected-parameters" not in tool.tags(cell)]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = links_of_the_site(pages.BADGE.sub(r"\1", cell.source))
        if "solution" in tool.tags(cell):
            cell.metadata["tags"] = [*tool.tags(cell), "hide-input"]
        for output in cell.get("outputs", []):
            for holder in (output, output.get("data", {})):
                for name in {"text", "text/plain", "text/html"} & set(holder):
                    holder[name] = without_paths(holder[name])
    book.cells = [part for cell in book.cells for part in (cell, *(way_to(cell) if moving else ()))]
    return book


def way_to(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """A line that leads from a view to one that moves, where there is one."""
    of = cell.source if cell.cell_type == "code" else ""
    names = [name for view, name in MOVING.items() if re.search(rf"^show\.{view}\(", of, re.M)]
    text = '<p><a href="../views.html#view-{}">A view like this, to move in the browser</a></p>'
    return [nbformat.v4.new_markdown_cell(text.format(name)) for name in names]


def links_of_the_site(text: str) -> str:
    """``text`` of a solution with links to the pages of the site. Code is not on the site: of a
    link to a file only the words stay.
    """
    text = text.replace("](../../docs/", "](../").replace(
        "](../../results/figures/", "](../figures/"
    )
    return re.sub(r"\[([^\]]*)\]\(\.\./\.\./[^)]*\)", r"\1", text)


def without_paths(text: str) -> str:
    """``text`` without folders of this machine."""
    for path, short in PLACES.items():
        text = text.replace(path, short)
    return text


def pictures(book: nbformat.NotebookNode) -> Iterator[tuple[str, str, bytes]]:
    """(caption, alternative text, PNG) of every picture in a notebook; the caption is the heading
    above it and the view that made it.

    Raises SiteError for a picture without the text.
    """
    heading = ""
    for n, cell in enumerate(book.cells, 1):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)
            heading = headings[-1].strip() if headings else heading
        views = re.findall(r"\bshow\.(\w+)\(", cell.source)
        caption = f"{heading} (`show.{views[-1]}`)" if views else heading
        for output in cell.get("outputs", []):
            if "image/png" not in output.get("data", {}):
                continue
            alt = output.metadata.get("image/png", {}).get("alt", "").strip()
            if not alt:
                raise SiteError(
                    f"cell {n}, below '{heading}': a picture without alternative text. Next:"
                    " show it with ssltut.show and alt="
                )
            yield caption, alt, base64.b64decode(output.data["image/png"])


def prepare(source: Path, runs: list[Path], profile: str, docs: Path = HERE) -> None:
    """Fill ``source`` with everything Sphinx reads."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(docs, source, ignore=shutil.ignore_patterns("*.pyc", "__pycache__"))
    for here, there in FIGURES.items():
        shutil.copytree(HERE / here, source / there)
    if NOTEBOOK_FIGURES.is_dir():
        shutil.copytree(NOTEBOOK_FIGURES, source / "figures", dirs_exist_ok=True)
    if f"]({PROMISES})" in (docs / "index.md").read_text(encoding="utf-8"):
        shutil.copy(HERE / PROMISES, source / "reliability.md")
    for page in source.glob("*.md"):  # these links are right where the pages lie in the project
        text = page.read_text(encoding="utf-8")
        for here, there in FIGURES.items():
            text = text.replace(here, there)
        text = text.replace(f"]({PROMISES})", "](reliability.md)")
        text = re.sub(r'^<a id="[\w-]+"></a>\n', "", text, flags=re.MULTILINE)  # for JupyterLab
        page.write_text(text, encoding="utf-8")
    chosen = write_notebooks(source, runs, profile)
    shown = ["::::{container} pictures", "", *chosen, "::::"] if chosen else []
    fill(source / "index.md", PICTURES="\n".join(shown))
    entries = "\n".join(f"notebooks/{run.stem}" for run in runs)
    fill(source / "notebooks.md", PROFILE=profile, NOTEBOOKS=entries)
    if (source / "methods.md").is_file():
        lines = method_pages.write(source)
        pages_of = "\n".join(f"methods/{name}" for name in method_pages.METHODS)
        fill(source / "methods.md", METHODS="\n".join(lines), PAGES=pages_of)
    if (source / "views.md").is_file():
        fill(source / "views.md", **live_views.write(source, live_views.views()))
    (source / "api").mkdir()
    for room, title in ROOMS.items():
        text = [title, "=" * len(title), ""]
        for name in modules(room):
            text += [name, "-" * len(name), "", f".. automodule:: {name}"]
            # The names that a room hands on are told where they are made.
            text += ["   :ignore-module-all:" if name == "ssltut.show" else "", ""]
        (source / "api" / f"{room or 'package'}.rst").write_text("\n".join(text), encoding="utf-8")


def write_notebooks(source: Path, runs: list[Path], profile: str) -> list[str]:
    """The notebooks and gallery.md, the page of their pictures; returns the lines of the pictures
    for the start page.
    """
    (source / "notebooks").mkdir()
    (source / "gallery").mkdir()
    about = f"Every picture of the notebooks, as they were run at profile `{profile}`."
    gallery = ["# Gallery", "", f"{about} A picture leads to its notebook.", ""]
    chosen: list[str] = []
    for run in runs:
        moving = (source / "views.md").is_file()
        book = page_of(nbformat.read(run, as_version=4), moving=moving)
        nbformat.write(book, source / "notebooks" / run.name)
        gallery += [f"## {pages.title(book)}", "", "::::{container} pictures", ""]
        for n, (caption, alt, png) in enumerate(pictures(book)):
            name = f"gallery/{run.stem}_{n:02}.png"
            (source / name).write_bytes(png)
            target = f":target: notebooks/{run.stem}.html"
            escaped = re.sub(r"^(\d+)\.", r"\1\\.", caption)  # else Markdown makes a list of it
            figure = [f":::{{figure}} {name}", f":alt: {alt}", target, "", escaped, ":::", ""]
            gallery += figure
            if any(f"`show.{view}`" in caption for view in FIRST):
                chosen += figure
        gallery += ["::::", ""]
    (source / "gallery.md").write_text("\n".join(gallery), encoding="utf-8")
    return chosen


def fill(page: Path, **values: str) -> None:
    """Put ``values`` where the page has @@NAME@@."""
    text = page.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@@{name}@@", value)
    page.write_text(text, encoding="utf-8")


def modules(room: str) -> list[str]:
    """The public modules of ``ssltut/room``; for "" those of the package itself."""
    folder = ROOT / "ssltut" / room
    files = sorted(folder.rglob("*.py") if room else folder.glob("*.py"))
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files
        if path.stat().st_size and not path.stem.startswith("__main")
    ]
    return [name for name in names if "._" not in name]


def build(source: Path, target: Path) -> None:
    """Run Sphinx, every warning an error. Raises SiteError with its log."""
    from sphinx.cmd.build import main as sphinx

    shutil.rmtree(target, ignore_errors=True)
    log = target.with_name(f"{target.name}.warnings")
    options = ["-q", "-E", "-W", "--keep-going", "-n", "-b", "html"]
    folders = ["-d", str(target.with_name("doctrees")), "-w", str(log), str(source), str(target)]
    if sphinx([*options, *folders]):
        raise SiteError(
            f"Sphinx has objections, all of them in {log}:\n"
            f"{log.read_text(encoding='utf-8')[:3000]}"
        )
    accessible.repair(target)


def site(
    solutions: list[Path], folder: Path, *, profile: str | None = None, docs: Path = HERE
) -> Path:
    """Run what has to be run, build, check, and return the start page. Raises SiteError or
    tour.TourError.
    """
    present = executed(folder / "tour", solutions)
    if present is None or profile not in (None, present):
        present = profile or "class"
        tour.tour(solutions, folder / "tour", profile=present)
    os.environ.pop("SSLTUT_FRONTEND", None)
    source, target = folder / "site" / "source", folder / "site" / "html"
    prepare(source, [folder / "tour" / solution.name for solution in solutions], present, docs)
    build(source, target)
    found, outside = check(target)
    (folder / "site" / "outside.txt").write_text("\n".join([*outside, ""]), encoding="utf-8")
    if found:
        raise SiteError("\n".join([f"{len(found)} problems in {target}:", *found[:40]]))
    print(
        f"{len(outside)} links lead out of the site; they are listed, not tried, in"
        f" {folder / 'site' / 'outside.txt'}"
    )
    return target / "index.html"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--profile",
        choices=tour.TIMEOUT_S,
        help="run the notebooks at this profile (default: what build/tour holds, else class)",
    )
    profile = parser.parse_args(arguments).profile
    try:
        start = site(
            sorted((ROOT / "notebooks" / "solutions").glob("[0-9][0-9]_*.ipynb")),
            ROOT / "build",
            profile=profile,
        )
    except (SiteError, tour.TourError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"Done. Open {start}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
