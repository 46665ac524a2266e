"""A function's arguments on sliders, and how any live view is put into a notebook."""

import io

import numpy as np
import pytest
from PIL import Image

from ssltut import show
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import WIDGET


def square(side: float = 2.0, dark: bool = False, *, colour: float = 1.0) -> show.Picture:
    out = io.BytesIO()
    Image.fromarray(np.full((int(side), int(side)), 40 if dark else 200, np.uint8)).save(out, "png")
    return show.Picture(out.getvalue(), "a square")


def size(png: bytes) -> int:
    return Image.open(io.BytesIO(png)).width


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")


def test_without_a_notebook_it_is_the_picture_of_the_defaults() -> None:
    still = show.interact(square, alt="squares", side=(1, 9))
    assert isinstance(still, show.Picture)
    assert still.alt == "squares"
    assert size(still.png) == 2


def test_a_slider_and_a_tick_draw_anew(lab: None) -> None:
    view = show.interact(square, alt="squares", side=(1, 9))
    controls, shown = view.children
    side, dark = controls.children
    assert size(shown.value) == 2
    side.value = 7
    assert size(shown.value) == 7
    before = shown.value
    dark.value = True
    assert shown.value != before
    assert view.illustration.alt == "squares"


def test_limits_of_no_argument_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no argument depth with a default.*it has side, dark, colour"
    ):
        show.interact(square, alt="squares", depth=(0, 1))
    with pytest.raises(ConfigError, match="empty"):
        show.interact(square, alt=" ")


def test_in_lab_the_picture_is_an_output_of_its_own_and_elsewhere_part_of_the_widgets(
    lab: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, view = [], show.interact(square, alt="squares")
    monkeypatch.setattr("IPython.display.display", lambda thing, **more: shown.append(thing))
    view._ipython_display_()
    still, live = shown
    data, metadata = still._repr_mimebundle_()
    assert WIDGET not in data
    assert "ssltut-still" in data["text/html"]
    assert data["image/png"]
    assert metadata["image/png"]["alt"] == "squares"
    assert set(live) == {WIDGET, "text/plain"}
    assert "ssltut-still" not in view._repr_mimebundle_()[0]["text/html"]
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    view._ipython_display_()
    assert len(shown) == 3
    assert {WIDGET, "image/png", "text/html"} <= set(shown[2])
