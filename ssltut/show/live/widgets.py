"""What the live views are made of: widgets with a DOM class, in a column that has its picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import ipywidgets
from ipywidgets import Dropdown

from ssltut.show.frontends import takes_widgets
from ssltut.show.static.pictures import Illustrated, Picture
from ssltut.text import markup

W = TypeVar("W", bound=ipywidgets.DOMWidget)
Row = list[ipywidgets.Widget]
RIGHT = 322
WIDE = {"style": {"description_width": "initial"}, "layout": {"width": "26em"}}


def classed(widget: W, name: str) -> W:
    """``widget`` with the DOM class ssltut-``name``, by which tests and style sheets find it."""
    return widget.add_class(f"ssltut-{name}")


def int_slider(name: str, value: int, low: int, high: int, **more: Any) -> ipywidgets.IntSlider:
    return classed(ipywidgets.IntSlider(value, low, high, **{"description": name} | more), name)


def dropdown(name: str, options: Sequence[str], description: str, **more: Any) -> Dropdown:
    return classed(Dropdown(options=options, description=description, **more), name)


def announced(text: str, size: str = "115%") -> str:
    """``text`` (HTML) as a line that changes, for the back row and for screen readers."""
    return f'<div aria-live="polite" style="font-size: {size}; line-height: 1.4">{text}</div>'


def html_table(rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML."""
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f'<table style="width:100%"><tr>{"</tr><tr>".join(cells)}</tr></table>'


def beside(left: Row, right: Row) -> ipywidgets.HBox:
    """Two columns, the right one of ``RIGHT`` pixels: both fit beside a file browser."""
    fixed = {"width": f"{RIGHT}px", "flex": "0 0 auto"}
    return ipywidgets.HBox([ipywidgets.VBox(left), ipywidgets.VBox(right, layout=fixed)])


def wrapped(row: Row) -> ipywidgets.HBox:
    """A row that goes on in the next line where it finds no room."""
    return ipywidgets.HBox(row, layout={"flex_flow": "row wrap"})


def answers_html(answers: Mapping[str, int], names: Sequence[str]) -> str:
    """An HTML table: the class by each who names one, and whether it is right ("truth")."""
    rows = []
    for who, c in answers.items():
        mark = ""
        if who != "truth" and "truth" in answers:
            mark = " &#10003; right" if c == answers["truth"] else " &#10007; wrong"
        rows.append((markup(who), f"<b>{markup(names[c])}</b>{mark}"))
    return html_table(rows)


def plane_image(plane: str, alt: str, *, clickable: bool) -> ipywidgets.DOMWidget:
    """The picture of one plane: one to click where it runs, else that of core ipywidgets."""
    if clickable and takes_widgets():
        from ssltut.show.live.clickable_image import ClickableImage

        return classed(ClickableImage(alt=alt), plane)
    fit = {"object_fit": "contain", "margin": "0 6px 0 0", "min_width": "0"}
    return classed(ipywidgets.Image(format="jpeg", layout=fit), plane)


class LiveView(Illustrated, ipywidgets.VBox):
    """A column of widgets; ``illustration`` is what remains in a saved notebook."""

    illustration: Picture
    children: Sequence[ipywidgets.Widget]

    def __init__(self, still: Picture, name: str) -> None:
        super().__init__()
        self.illustration, self.tooltip, self.held = still, None, False
        classed(self, name)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Controls that are set inside draw nothing: who answers to them looks at ``held``."""
        self.held = True
        try:
            yield
        finally:
            self.held = False

    def titled(self, title: str | None) -> Self:
        """Itself, under a heading."""
        if title:
            self.children = [ipywidgets.HTML(f"<b>{markup(title)}</b>"), *self.children]
        return self
