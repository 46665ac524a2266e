"""A toy scan and the live views of it."""

from typing import Any

import numpy as np

from ssltut import show
from ssltut.data.labels import HIP

SPACING, SHAPE = (1.0, 2.0, 1.5), (12, 10, 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-200, 900, SHAPE).astype(np.int16)
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[2:6, 2:7, 2:6] = 1
LABEL[6:10, 2:7, 2:6] = 2
DOUBT = RNG.random(SHAPE).astype(np.float32)
WRONG = DOUBT + 0.3 * RNG.standard_normal(SHAPE) > 0.9


def slice_view(**more: Any) -> Any:
    layers = {"prediction": LABEL, "error": WRONG, "uncertainty (nats)": DOUBT}
    given = {"spacing": SPACING, "alt": "a scan", "overlay": LABEL, "table": HIP, "layers": layers}
    return show.slices(IMAGE, **given | more)


def uncertainty_view(**more: Any) -> Any:
    given = {"spacing": SPACING, "alt": "doubt", "wrong": WRONG}
    return show.explore_uncertainty(IMAGE, DOUBT, **given | more)


def embedding_view(n: int = 40, **more: Any) -> Any:
    places = np.argwhere(LABEL >= 0)[:: LABEL.size // n][:n]
    given = {
        "spacing": SPACING,
        "table": HIP,
        "alt": "a map",
        "classes": LABEL[tuple(places.T)],
        "reliable": DOUBT[tuple(places.T)] < 0.5,
        "right": ~WRONG[tuple(places.T)],
    }
    vectors = np.random.default_rng(1).normal(size=(n, 6))
    return show.explore_embeddings(vectors, places, IMAGE, **given | more)
