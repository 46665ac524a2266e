"""Names from a stranger's file are letters in every view; the browser tests open the same views."""

import base64
from html.parser import HTMLParser

import hostile
import ipywidgets
import pytest
from matplotlib.figure import Figure

from ssltut import show
from ssltut.show.static.pictures import Illustrated, Picture, picture

OURS = {"b", "br", "div", "nobr", "span", "table", "td", "tr", "img", "style", "details", "summary"}
ATTRIBUTES = {"style", "aria-live", "alt", "src", "class"}


class Elements(HTMLParser):
    """The elements and attributes that a browser makes of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(text)
    return parser


def only_ours(text: str) -> bool:
    found = elements(text)
    return found.tags <= OURS and found.attributes <= ATTRIBUTES


def widgets_in(view: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    below = getattr(view, "children", ())
    return [view, *(inner for child in below for inner in widgets_in(child))]


@pytest.mark.parametrize("name", hostile.VIEWS)
def test_every_picture_is_drawn_and_its_html_is_ours(name: str) -> None:
    shown = hostile.VIEWS[name]()
    if shown is None:  # it has displayed itself
        return
    data = shown._repr_mimebundle_()[0]
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert only_ours(data["text/html"])


@pytest.mark.parametrize("name", hostile.VIEWS)
def test_every_widget_writes_html_that_is_ours(name: str, lab: None) -> None:
    shown = hostile.VIEWS[name]()
    if not isinstance(shown, Illustrated) or not isinstance(shown, ipywidgets.Widget):
        return
    pages = [w.value for w in widgets_in(shown) if isinstance(w, ipywidgets.HTML)]
    assert pages or name in ("correspondences", "interact")
    assert [page for page in pages if not only_ours(page)] == []


def test_plotly_gets_letters_for_names(lab: None) -> None:
    figure = hostile.correspondences()
    texts = [figure.layout.title.text, *(trace.name for trace in figure.data)]
    assert len([text for text in texts if text]) > 4
    assert [text for text in texts if text and (elements(text).tags or "$" in text)] == []


def test_in_colab_the_page_holds_one_script_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    page = hostile.correspondences().page
    assert "onerror" in page
    assert hostile.RUN in page
    assert elements(page).tags <= {"div", "script"}


def test_a_hostile_name_would_be_seen() -> None:
    assert not only_ours("<b onclick=x>")
    assert not only_ours(f"<b>{hostile.NAMES[0]}</b>")
    assert not only_ours("<script>")
    assert only_ours(Picture(b"", hostile.WORDS)._repr_mimebundle_()[0]["text/html"])


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize("name", ["planes", "slices", "surface", "lines"])
def test_pictures_show_the_code_of_what_cannot_be_drawn(name: str) -> None:
    hostile.VIEWS[name]()


def test_a_dollar_is_drawn_as_a_dollar() -> None:
    scan = {"spacing": hostile.SPACING, "alt": "a scan"}
    whole, formula = (
        show.planes(hostile.IMAGE, **scan, title=title).png for title in ("$x$", "$x $")
    )
    assert whole != formula


@pytest.mark.parametrize("top", [0.5, 300.0])
def test_numbers_of_a_logarithmic_axis_are_plain(top: float, monkeypatch) -> None:
    seen: list[str] = []

    def looked_at(fig: Figure, alt: str) -> Picture:
        shown = picture(fig, alt)
        seen.extend(label.get_text() for label in fig.axes[0].get_yticklabels(which="both"))
        return shown

    monkeypatch.setattr("ssltut.show.static.curves.picture", looked_at)
    words = {"xlabel": "x", "ylabel": "y", "alt": "a line"}
    show.lines([1, 2], {"a": [0.2, top]}, log=True, **words)
    numbers = [text for text in seen if text]
    assert len(numbers) >= 2
    assert all(float(text) > 0 for text in numbers)
