"""Check a folder of HTML pages: pictures have alternative text, links lead somewhere, nothing is
fetched from elsewhere.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

NOT_LOADED = ("next", "prev", "search", "index", "canonical")  # what <link rel=...> only names


class Link(NamedTuple):
    """An address on a page; ``loaded`` when the browser fetches it with the page."""

    line: int
    address: str
    loaded: bool


class Page(HTMLParser):
    """One page: ``ids`` that a link may name, ``links``, and pictures ``without_alt``."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids = {""}
        self.links: list[Link] = []
        self.without_alt: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        line = self.getpos()[0]
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "img" and not given.get("alt", "").strip():
            self.without_alt.append(f"line {line}: {given.get('src', '')[:60]}")
        if tag == "a" and "href" in given:
            self.links.append(Link(line, given["href"], loaded=False))
        if given.get("rel") in NOT_LOADED:
            return
        names = ("src", "poster", "href") if tag == "link" else ("src", "poster")
        self.links += [Link(line, given[name], loaded=True) for name in names if name in given]


def check(site: Path) -> tuple[list[str], list[str]]:
    """(problems, addresses outside) of a folder of pages."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    problems: list[str] = []
    outside: set[str] = set()
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        problems += [
            f"{where}, {at}: a picture without alternative text" for at in page.without_alt
        ]
        problems += [f"{where}, {problem}" for problem in broken_links(path, page, pages)]
        addresses = [link.address for link in page.links if not link.loaded]
        outside |= {a for a in addresses if urlsplit(a).scheme in ("http", "https")}
    return problems, sorted(outside)


def broken_links(path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """What is wrong with the links of one page."""
    for line, address, loaded in page.links:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            if loaded and parts.scheme != "data":
                yield f"line {line}: would be fetched from elsewhere: {address[:100]}"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            yield f"line {line}: leads to {address}, which does not exist"
        elif target in pages and unquote(parts.fragment) not in pages[target].ids:
            yield f"line {line}: {address} names a place that is not on that page"
