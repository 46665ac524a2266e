"""A picture that tells the kernel of clicks, hovering and the wheel, as ipywidgets.Image cannot."""

from pathlib import Path

import anywidget
import traitlets


class ClickableImage(anywidget.AnyWidget):
    """JPEG ``value`` with its ``alt`` text.

    ``on_msg`` gets {"kind": "click" or "hover", "x", "y": shares of width and height}, {"kind":
    "wheel", "steps"} and {"kind": "leave"}.
    """

    _esm = Path(__file__).with_suffix(".js")
    value = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
