"""The pictures that exercises should lead to: each has a maker, a file and a notebook."""

import io
from pathlib import Path

import expected
import pytest
import tool
from PIL import Image

FILES = sorted(expected.FIGURES.glob("*.png"))
QUICK = sorted(set(expected.PICTURES) - {"03_two_entropies"})  # that one needs a network


def test_each_picture_that_ships_has_a_maker_and_no_maker_is_without_a_picture() -> None:
    assert [file.stem for file in FILES] == sorted(expected.PICTURES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_notebook_of_its_number_shows_it_under_what_it_should_look_like(file: Path) -> None:
    (master,) = (tool.HERE / "masters").glob(f"{file.stem[:2]}_*.py")
    before, named, _ = master.read_text(encoding="utf-8").partition(f"](figures/{file.name})")
    assert named
    assert before.rfind("What it should look like") > before.rfind("</details>")


@pytest.mark.parametrize("name", QUICK)
def test_a_picture_is_made_again_in_the_size_that_ships(name: str) -> None:
    with (
        Image.open(io.BytesIO(expected.PICTURES[name]())) as made,
        Image.open(expected.FIGURES / f"{name}.png") as ships,
    ):
        assert made.size == ships.size
        assert (expected.FIGURES / f"{name}.png").stat().st_size < 30_000
