"""What the live views are made of: widgets with a DOM class, in a column that has its picture."""

import html
import io
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import ipywidgets
from ipywidgets import Dropdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssltut.show.frontends import frontend
from ssltut.show.static.pictures import Illustrated, Picture, rendered

W = TypeVar("W", bound=ipywidgets.DOMWidget)
WIDE = {"style": {"description_width": "initial"}, "layout": {"width": "26em"}}


def classed(widget: W, name: str) -> W:
    """``widget`` with the DOM class ssltut-``name``, by which tests and style sheets find it."""
    return widget.add_class(f"ssltut-{name}")


def int_slider(name: str, value: int, low: int, high: int, **more: Any) -> ipywidgets.IntSlider:
    return classed(ipywidgets.IntSlider(value, low, high, **{"description": name} | more), name)


def dropdown(name: str, options: Sequence[str], description: str, **more: Any) -> Dropdown:
    return classed(Dropdown(options=options, description=description, **more), name)


def announced(text: str) -> str:
    """HTML of a line that changes: large enough for the back row, and read by screen readers."""
    return f'<div aria-live="polite" style="font-size: 115%; line-height: 1.5">{text}</div>'


def plane_image(plane: str, alt: str, *, clickable: bool) -> ipywidgets.DOMWidget:
    """The picture of one plane: in JupyterLab one to click, elsewhere that of core ipywidgets."""
    if clickable and frontend() == "lab":
        try:
            from ssltut.show.live.clickable_image import ClickableImage

            return classed(ClickableImage(alt=alt), plane)
        except ImportError:  # the sliders do all that a mouse does
            pass
    fit = {"object_fit": "contain", "margin": "0 6px 0 0", "min_width": "0"}
    return classed(ipywidgets.Image(format="jpeg", layout=fit), plane)


class LiveView(Illustrated, ipywidgets.VBox):
    """A column of widgets; ``illustration`` is what remains in a saved notebook."""

    illustration: Picture
    children: Sequence[ipywidgets.Widget]

    def __init__(self, still: Picture, name: str) -> None:
        super().__init__()
        self.illustration, self.tooltip = still, None
        classed(self, name)

    def titled(self, title: str | None) -> Self:
        """Itself, under a heading."""
        if title:
            self.children = [ipywidgets.HTML(f"<b>{html.escape(title)}</b>"), *self.children]
        return self


class RingedFigure:
    """A figure drawn once, on which points are ringed again and again: 100 times quicker."""

    def __init__(self, fig: Figure) -> None:
        self.image: Any = rendered(fig)
        self.axes = fig.axes
        self.transforms: dict[Axes, Any] = {ax: ax.transData.frozen() for ax in fig.axes}

    def ringed(self, points: Sequence[tuple[Axes, float, float]]) -> bytes:
        """PNG with a ring around each point (axes, x, y)."""
        from PIL import ImageDraw

        shown, out = self.image.copy(), io.BytesIO()
        pen = ImageDraw.Draw(shown)
        for ax, *point in points:
            x, y = self.transforms[ax].transform(point)
            y = shown.height - y
            for r, colour, width in ((11, "white", 7), (10, "black", 4)):
                pen.ellipse([x - r, y - r, x + r, y + r], outline=colour, width=width)
        shown.save(out, "png", compress_level=1)
        return out.getvalue()
