"""Make the site: ``python docs/website.py [--profile smoke]`` leaves build/site/html, pages that
need no network.

The notebooks come from ``build/tour`` where that holds runs of today's solutions, else the tour is
run first. Sphinx turns them, the pages in this folder, a gallery of the notebooks' pictures and the
package's docstrings into a site. A warning, a link inside the site that leads nowhere, a picture
without alternative text, or anything that would be fetched from elsewhere fails the build.
"""

import argparse
import base64
import os
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "notebooks"), str(ROOT)]

import nbformat
import pages
import tool
import tour

ROOMS = {
    "data": "Data",
    "nets": "Networks",
    "methods": "Methods",
    "show": "Views",
    "": "Training, measures and comparison",
}
FIRST = (
    "interact",
    "explore_uncertainty",
    "explore_matches",
    "correspondences",
)  # the views on the start page
PLACES = {str(ROOT / "build"): "build", str(ROOT): ".", str(Path.home()): "~"}


class SiteError(Exception):
    """The site cannot be built, or what was built is not as promised; the message says what, where
    and what next.
    """


def executed(folder: Path, solutions: list[Path]) -> str | None:
    """The profile at which ``folder`` holds runs of just these solutions; None when one is missing,
    failed or lags behind its solution.
    """
    profiles = set()
    for solution in solutions:
        if not (folder / solution.name).exists():
            return None
        run = nbformat.read(folder / solution.name, as_version=4)
        given = [cell.source for cell in run.cells if "injected-parameters" in tool.tags(cell)]
        sources = [
            cell.source for cell in run.cells if "injected-parameters" not in tool.tags(cell)
        ]
        failed = any(
            output.output_type == "error"
            for cell in run.cells
            for output in cell.get("outputs", [])
        )
        if failed or sources != [
            cell.source for cell in nbformat.read(solution, as_version=4).cells
        ]:
            return None
        profiles |= {
            match[1]
            for text in given
            if (match := re.search(r'^profile = "(\w+)"', text, re.MULTILINE))
        }
    return profiles.pop() if len(profiles) == 1 else None


def page_of(run: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook as Sphinx shall have it: no badge from elsewhere, answers folded, no
    parameters of ours, no paths.
    """
    book = nbformat.from_dict(run)
    book.metadata.pop("widgets", None)
    book.cells = [cell for cell in book.cells if "injected-parameters" not in tool.tags(cell)]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = pages.BADGE.sub(r"\1", cell.source)
        if "solution" in tool.tags(cell):
            cell.metadata["tags"] = [*tool.tags(cell), "hide-input"]
        for output in cell.get("outputs", []):
            for holder in (output, output.get("data", {})):
                holder |= {
                    name: _unplaced(holder[name])
                    for name in ("text", "text/plain", "text/html")
                    if name in holder
                }
    return book


def _unplaced(text: str) -> str:
    for place, word in PLACES.items():
        text = text.replace(place, word)
    return text


def pictures(book: nbformat.NotebookNode) -> Iterator[tuple[str, str, bytes]]:
    """(caption, alternative text, PNG) of every picture in a notebook; the caption is the heading
    above it and the view that made it.

    Raises SiteError for a picture without the text.
    """
    heading = ""
    for n, cell in enumerate(book.cells, 1):
        if cell.cell_type == "markdown" and (
            found := re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)
        ):
            heading = found[-1].strip()
        view = (re.findall(r"\bshow\.(\w+)\(", cell.source) or [""])[-1]
        for output in cell.get("outputs", []):
            if "image/png" in (data := output.get("data", {})):
                if not (alt := output.metadata.get("image/png", {}).get("alt", "").strip()):
                    raise SiteError(
                        f"cell {n}, below '{heading}': a picture without alternative text. Next:"
                        " show it with ssltut.show and alt="
                    )
                yield (
                    f"{heading} (`show.{view}`)" if view else heading,
                    alt,
                    base64.b64decode(data["image/png"]),
                )


def prepare(source: Path, runs: list[Path], profile: str, docs: Path = HERE) -> None:
    """Fill ``source`` with everything Sphinx reads."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(docs, source, ignore=shutil.ignore_patterns("website.py", "__pycache__"))
    (source / "notebooks").mkdir()
    (source / "gallery").mkdir()
    gallery, chosen = (
        [
            "# Gallery",
            "",
            (
                f"Every picture of the notebooks, as they were run at profile `{profile}`. A"
                " picture leads to its notebook."
            ),
            "",
        ],
        [],
    )
    for run in runs:
        book = page_of(nbformat.read(run, as_version=4))
        nbformat.write(book, source / "notebooks" / run.name)
        gallery += [f"## {pages.title(book)}", "", "::::{container} pictures", ""]
        for n, (caption, alt, png) in enumerate(pictures(book)):
            (source / "gallery" / f"{run.stem}_{n:02}.png").write_bytes(png)
            caption = re.sub(r"^(\d+)\.", r"\1\\.", caption)  # no list
            figure = [
                f":::{{figure}} gallery/{run.stem}_{n:02}.png",
                f":alt: {alt}",
                f":target: notebooks/{run.stem}.html",
                "",
                caption,
                ":::",
                "",
            ]
            gallery += figure
            chosen += figure if any(f"`show.{view}`" in caption for view in FIRST) else []
        gallery += ["::::", ""]
    (source / "gallery.md").write_text("\n".join(gallery), encoding="utf-8")
    start = (
        (source / "index.md")
        .read_text(encoding="utf-8")
        .replace("@@PICTURES@@", "\n".join(["::::{container} pictures", "", *chosen, "::::"]))
    )
    (source / "index.md").write_text(start, encoding="utf-8")
    entries = "\n".join(f"notebooks/{run.stem}" for run in runs)
    listed = (
        (source / "notebooks.md")
        .read_text(encoding="utf-8")
        .replace("@@PROFILE@@", profile)
        .replace("@@NOTEBOOKS@@", entries)
    )
    (source / "notebooks.md").write_text(listed, encoding="utf-8")
    (source / "api").mkdir()
    for room, title in ROOMS.items():
        text = [title, "=" * len(title), ""]
        for name in modules(room):
            text += [name, "-" * len(name), "", f".. automodule:: {name}", ""]
        (source / "api" / f"{room or 'package'}.rst").write_text("\n".join(text), encoding="utf-8")


def modules(room: str) -> list[str]:
    """The public modules of ``ssltut/room``; for "" those of the package itself."""
    folder = ROOT / "ssltut" / room
    files = sorted(folder.glob("*.py") if not room else folder.rglob("*.py"))
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files
        if not path.stem.startswith("__main")
    ]
    return [name for name in names if "._" not in name]


def build(source: Path, target: Path) -> None:
    """Run Sphinx, every warning an error. Raises SiteError with its log."""
    from sphinx.cmd.build import main as sphinx

    shutil.rmtree(target, ignore_errors=True)
    log = target.with_name(f"{target.name}.warnings")
    arguments = [
        "-q",
        "-E",
        "-W",
        "--keep-going",
        "-n",
        "-b",
        "html",
        "-d",
        str(target.with_name("doctrees")),
        "-w",
        str(log),
        str(source),
        str(target),
    ]
    if sphinx(arguments):
        raise SiteError(
            "Sphinx has objections, all of them in"
            f" {log}:\n{log.read_text(encoding='utf-8')[:3000]}"
        )


class Page(HTMLParser):
    """One page: ``ids`` that a link may name, ``links`` and ``loads`` with their line, and
    ``blind`` pictures.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.loads, self.blind = {""}, [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given, line = {name: value or "" for name, value in attrs}, self.getpos()[0]
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "img" and not given.get("alt", "").strip():
            self.blind.append(f"line {line}: {given.get('src', '')[:60]}")
        if tag == "a" and "href" in given:
            self.links.append((line, given["href"]))
        for name in ("src", "poster", *["href"] * (tag == "link")):
            if name in given and given.get("rel") not in (
                "next",
                "prev",
                "search",
                "index",
                "canonical",
            ):
                self.loads.append((line, given[name]))


def check(site: Path) -> tuple[list[str], list[str]]:
    """(problems, addresses outside) of a folder of pages.

    Problems are pictures without text, links and files that are not there, and things that would be
    loaded from elsewhere.
    """
    found, outside = [], set()
    read = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    for path, page in read.items():
        where = path.relative_to(site.resolve())
        found += [f"{where}, {blind}: a picture without alternative text" for blind in page.blind]
        for line, address in page.links + page.loads:
            parts, loaded = urlsplit(address), (line, address) in page.loads
            if parts.scheme or parts.netloc:
                if loaded and parts.scheme != "data":
                    found.append(
                        f"{where}, line {line}: would be fetched from elsewhere: {address[:100]}"
                    )
                elif parts.scheme in ("http", "https"):
                    outside.add(address)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{where}, line {line}: leads to {address}, which does not exist")
            elif target in read and unquote(parts.fragment) not in read[target].ids:
                found.append(
                    f"{where}, line {line}: {address} names a place that is not on that page"
                )
    return found, sorted(outside)


def site(
    solutions: list[Path], folder: Path, *, profile: str | None = None, docs: Path = HERE
) -> Path:
    """Run what has to be run, build, check, and return the start page. Raises SiteError or
    tour.TourError.
    """
    present = executed(folder / "tour", solutions)
    if present is None or profile not in (None, present):
        present = profile or "smoke"
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
        help="run the notebooks at this profile (default: what build/tour holds, else smoke)",
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
