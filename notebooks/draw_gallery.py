"""Draw the pictures of notebook 07: ``python notebooks/draw_gallery.py [NAME ...]``.

Writes figures/gallery/NAME.png for each method that has a page, from trainings of 60 steps at the
size of a class (seed 0; a quarter of an hour on one core; runs are kept). What a
picture shows in words is in its PNG, under Description.
"""

import argparse
import io
from dataclasses import replace
from pathlib import Path

import gallery
from gallery.pages import TERMS
from PIL import Image, PngImagePlugin

from ssltut import profile_named, synthetic_cohort
from ssltut.show.static.pictures import Picture

FIGURES = Path(__file__).resolve().parent / "figures" / "gallery"
STEPS = 60
OPTIONS = {
    "ersr": {"reach": 1.25},  # else the shape lies outside of some patches
    "cad": {"threshold_first": 0.4, "threshold_last": 0.45},  # else all of the scan is unsure
}


def write(picture: Picture, name: str, folder: Path = FIGURES) -> None:
    """A picture in 256 colours, with its words inside."""
    words = PngImagePlugin.PngInfo()
    words.add_itxt("Description", picture.alt)
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(picture.png)).convert("RGB").quantize(256)
    image.save(folder / f"{name}.png", optimize=True, pnginfo=words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="methods (default: all that have a page)")
    names = parser.parse_args().names or list(TERMS)
    profile = profile_named("class")
    config = replace(gallery.short(profile.train), steps=STEPS, validate_every=STEPS)
    book = gallery.open_gallery(synthetic_cohort(**profile.cohort), config)
    for name in names:
        write(book.page(name, **OPTIONS.get(name, {})).picture(), name)


if __name__ == "__main__":
    main()
