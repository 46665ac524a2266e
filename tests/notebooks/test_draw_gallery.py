"""The pictures of notebook 07 that ship: each has its words inside."""

from pathlib import Path

import draw_gallery
import pytest
from gallery.pages import TERMS
from matplotlib.figure import Figure
from PIL import Image

from ssltut import show

SHIPPED = sorted(draw_gallery.FIGURES.glob("*.png"))


def test_a_picture_keeps_its_words_and_its_size(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    picture = show.picture(figure, alt="a line that rises, τ = 1")
    draw_gallery.write(picture, "line", tmp_path)
    with Image.open(tmp_path / "line.png") as image:
        assert image.info["Description"] == "a line that rises, τ = 1"
        assert image.mode == "P"
        assert image.width > image.height


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_picture_that_ships_is_of_a_method_with_a_page_and_small(file: Path) -> None:
    assert file.stem in TERMS
    assert file.stat().st_size < 200_000
    with Image.open(file) as image:
        assert len(image.info["Description"]) > 40
