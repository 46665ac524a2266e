"""A static picture with its alt text, and how widgets carry one."""

import base64
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.text import markup, plain

# Read from the back row and on a dark page: large type, thick lines, a white ground of its own.
STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.dpi": 90,
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 2.5,
    "lines.markersize": 8,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "text.parse_math": False,  # a $ in the name of a class is a $
}
UNCERTAINTY = "viridis"  # sequential, even to the eye, safe for colour-blind readers
# Okabe-Ito, those with a contrast of at least 3:1 on white.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
Dashes = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.", (0, (8, 3)), (0, (3, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
Bundle = tuple[dict[str, Any], dict[str, Any]]  # data and metadata of an output
styled = matplotlib.rc_context(STYLE)


def line_style(k: int) -> dict[str, Any]:
    """Colour, dashes and marker of the k-th line; no two of the first 35 look the same."""
    turn = k + k // len(SERIES)
    dashes, marker = DASHES[turn % len(DASHES)], MARKERS[turn % len(MARKERS)]
    return {"color": SERIES[k % len(SERIES)], "ls": dashes, "marker": marker}


def described(alt: str) -> str:
    """``alt`` itself. Raises ConfigError when it says nothing."""
    if not isinstance(alt, str) or not alt.strip():
        fix = "say in one sentence what the picture shows, for a reader who cannot see it"
        raise ConfigError("the alt text is empty", fix=fix)
    return " ".join(alt.split())


# JupyterLab shows the richest form of an output that it knows, and of a widget whose kernel is gone
# only an error. So the picture is an output of its own before that of the widget. This style hides
# an ssltut-still while a widget follows it, and the error beside either kind of picture.
ONE_OF_TWO = """<style>
.jp-OutputArea-child:has(.ssltut-still):has(
  + .jp-OutputArea-child > .jp-OutputArea-output:not(.jp-RenderedText) > *) { display: none }
.jp-OutputArea:has(.ssltut-still, .ssltut-beside)
  > .jp-OutputArea-child:has(> .jupyter-widgets):not(:has(> .jupyter-widgets > *)) { display: none }
</style>"""


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows in words. As the last line of a cell it displays itself.

    JupyterLab 4.6 and nbconvert's lab pages drop the alt text of an image/png output, so the
    picture comes as an HTML <img> too; viewers that take the PNG find the text in its metadata.

    role   before a widget: "still" (hidden in JupyterLab for as long as it lives) or "beside"
    page   HTML that shows the same live where scripts run, as Colab's outputs do: comes first
    Raises ConfigError when ``alt`` is empty.
    """

    png: bytes
    alt: str
    role: str = field(default="", kw_only=True)
    page: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alt", described(self.alt))

    def __repr__(self) -> str:
        return f"Picture({self.alt!r})"

    def _repr_mimebundle_(self, **kwargs: object) -> Bundle:
        code = base64.b64encode(self.png).decode()
        source = f"data:image/png;base64,{code}"
        tag = f'<img alt="{markup(self.alt)}" style="max-width: 100%" src="{source}">'
        if self.role:
            tag = f'{ONE_OF_TWO}<div class="ssltut-{self.role}">{tag}</div>'
        if self.page:
            tag = f"{self.page}<details><summary>still picture</summary>{tag}</details>"
        data = {"text/plain": self.alt, "text/html": tag, "image/png": code}
        return data, {"alt": self.alt, "image/png": {"alt": self.alt}}

    def save(self, path: Path | str) -> Path:
        """Write the PNG to ``path``."""
        Path(path).write_bytes(self.png)
        return Path(path)


def rendered(fig: Figure) -> Image.Image:
    """A figure as a PIL image, closed. Drawn on its canvas: ``savefig`` would draw it twice."""
    fig.dpi = STYLE["figure.dpi"]
    for text in fig.findobj(Text):
        text.set_text("\n".join(map(plain, text.get_text().split("\n"))))
    with matplotlib.rc_context(STYLE):
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
    plt.close(fig)
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def picture(fig: Figure, alt: str, title: str | None = None, *, quick: bool = False) -> Picture:
    """Render a matplotlib figure and close it, so that no backend shows it a second time.

    256 colours keep a notebook small; ``quick`` leaves them, for pictures that will be replaced.
    """
    if title:
        with matplotlib.rc_context(STYLE):
            fig.suptitle(title, fontsize=16)
    out, still = io.BytesIO(), rendered(fig)
    if quick:
        still.save(out, "png", compress_level=1)
    else:
        # maximum coverage: median cut gives a thin line the colour of the grey around it
        method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        still.quantize(256, method, kmeans=3, dither=dither).save(out, "png", optimize=True)
    return Picture(out.getvalue(), alt)


WIDGET = "application/vnd.jupyter.widget-view+json"


class Illustrated:
    """Mixed into a widget class, adds the picture that is seen of a saved notebook."""

    illustration: Picture
    model_id: str

    def _repr_mimebundle_(self, **kwargs: object) -> Bundle:
        data, metadata = self.illustration._repr_mimebundle_()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return data | {WIDGET: view}, metadata

    def _ipython_display_(self) -> None:
        """In JupyterLab two outputs, picture and widget, of which one is seen; else one."""
        from IPython.display import display

        data, metadata = self._repr_mimebundle_()
        if frontend() == "lab":
            display(replace(self.illustration, role="still"))
            plain = "(a live view: run the cell to see it)"
            data, metadata = {WIDGET: data[WIDGET], "text/plain": plain}, {}
        display(data, metadata=metadata, raw=True)
