"""What a stranger may have written where a name belongs, and every view of it.

A browser that takes one of the names for HTML opens a dialog and sets ``window.ran``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from ssltut import show
from ssltut.data.labels import OKABE_ITO, LabelTable

RUN = "window.ran=1;alert(1)"
NAMES = (
    f'<img src=x onerror="{RUN}">',
    f'femur" onmouseover="{RUN}" x="',
    f"</script><script>{RUN}</script>",
    r"$\frac{$",
    f"two\nlines\x1b[2J<svg onload='{RUN}'>",
    f"\u202eenob \u05e2\u05e6\u05dd<details open ontoggle={RUN}>",
    f'<a href="javascript:{RUN}">a</a>',
)
TABLE = LabelTable(NAMES[0], ("background", *NAMES), ("#000000", *OKABE_ITO))
WORDS = " ".join(NAMES)
SPACING = (2.0, 2.0, 3.0)
SHAPE = (18, 14, 12)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-200, 900, SHAPE).astype(np.int16)
LABEL = np.zeros(SHAPE, np.uint8)
for _c in range(1, 8):
    LABEL[2 * _c : 2 * _c + 2, 3:10, 2:9] = _c
DOUBT = RNG.random(SHAPE).astype(np.float32)
LAYERS = {NAMES[0]: LABEL, NAMES[1]: DOUBT > 0.5, NAMES[2]: DOUBT, NAMES[3]: DOUBT}
OF_A_SCAN: dict[str, Any] = {"spacing": SPACING, "alt": WORDS, "title": WORDS}
LABELLED = {"overlay": LABEL, "table": TABLE, "contours": dict.fromkeys(NAMES[:3], LABEL)}


def embedded(**more: Any) -> dict[str, Any]:
    """A scan whose embedding says which class a voxel has."""
    embedding = torch.eye(8)[torch.as_tensor(LABEL.astype(np.int64))].movedim(-1, 0)
    scan = {"image": IMAGE, "spacing": SPACING, "embedding": embedding, "label": LABEL}
    return scan | more


def matches() -> Any:
    target = embedded(answer=np.roll(LABEL, 1, 0), heat=DOUBT, heat_label=WORDS)
    scans = {NAMES[0]: embedded(), NAMES[3]: embedded()}
    given = {"table": TABLE, "at": (5, 5, 5), "alt": WORDS, "name": NAMES[2], "title": WORDS}
    return show.explore_matches(target, scans, **given)


def embeddings() -> Any:
    places = np.argwhere(LABEL > 0)[::7]
    classes = LABEL[tuple(places.T)]
    vectors = np.random.default_rng(1).normal(size=(len(places), 6))
    more = {"classes": classes, "table": TABLE, "reliable": classes > 2, "layers": LAYERS}
    return show.explore_embeddings(vectors, places, IMAGE, **OF_A_SCAN, **more)


def correspondences() -> Any:
    mesh = show.surface(LABEL, 1, spacing=SPACING, table=TABLE)
    names = {"title": WORDS, "alt": WORDS, "scans": NAMES[:2], "names": NAMES[2:4]}
    return show.correspondences(
        mesh, mesh, [[4, 4, 4]] * 2, [[5, 5, 5]] * 2, [True, False], **names
    )


def surface() -> Any:
    given = {"class_id": 4, "table": TABLE, "heat_label": WORDS, **OF_A_SCAN}
    return show.explore_surface(LABEL, np.roll(LABEL, 1, 0), DOUBT, **given)


def volume() -> Any:
    more = {"label_image": LABEL, "table": TABLE, "point_set": [[4, 4, 4]], "shows": WORDS}
    return show.volume(IMAGE, **OF_A_SCAN, **more)


def interact() -> Any:
    def draw(a: float = 0.5, b: bool = True) -> Any:
        return show.lines([0, 1], {WORDS: [0, a]}, xlabel=WORDS, ylabel=WORDS, alt=WORDS)

    return show.interact(draw, alt=WORDS, a=(0, 1))


def live_curves() -> Any:
    with show.LiveCurves(alt=WORDS, groups={WORDS: list(NAMES)}) as live:
        for step in range(3):
            live.add({"step": step} | dict.fromkeys(NAMES, 0.5 * step))
    return None


def intervals() -> Any:
    rows = [(name, WORDS, 0.5, 0.4, 0.6) for name in NAMES]
    table = pd.DataFrame(rows, columns=["method", "metric", "mean", "low", "high"])
    return show.intervals(table, alt=WORDS, titles={WORDS: WORDS})


def dot_matrix() -> Any:
    has = pd.DataFrame({name: [True, False] for name in NAMES}, index=list(NAMES[:2]))
    costs = pd.DataFrame({name: [1.0, 2.0] for name in NAMES[:2]}, index=list(NAMES[:2]))
    return show.dot_matrix(has, costs, alt=WORDS)


def curves() -> Any:
    history = pd.DataFrame({"step": [0, 1]} | {name: [1.0, 2.0] for name in NAMES})
    return show.curves(history, alt=WORDS, groups={name: [name] for name in NAMES})


VIEWS: dict[str, Callable[[], Any]] = {
    "planes": lambda: show.planes(IMAGE, **OF_A_SCAN, **LABELLED),
    "grid": lambda: show.grid(
        {name: {"image": IMAGE, "spacing": SPACING, **LABELLED} for name in NAMES}, alt=WORDS
    ),
    "heat": lambda: show.planes(IMAGE, **OF_A_SCAN, heat=DOUBT, heat_label=WORDS),
    "slices": lambda: show.slices(IMAGE, **OF_A_SCAN, **LABELLED, layers=LAYERS, unit=NAMES[0]),
    "uncertainty": lambda: show.explore_uncertainty(
        IMAGE, DOUBT, **OF_A_SCAN, layers={NAMES[0]: DOUBT}
    ),
    "embeddings": embeddings,
    "matches": matches,
    "correspondences": correspondences,
    "surface": surface,
    "volume": volume,
    "interact": interact,
    "live curves": live_curves,
    "intervals": intervals,
    "strip": lambda: show.paired_strip(
        {name: [0.1, 0.2, 0.3] for name in NAMES}, xlabel=WORDS, alt=WORDS
    ),
    "dots": dot_matrix,
    "curves": curves,
    "lines": lambda: show.lines(
        [1, 2], {n: [1, 2] for n in NAMES}, xlabel=WORDS, ylabel=WORDS, alt=WORDS, title=WORDS
    ),
    "risk": lambda: show.risk_coverage([0.5, 1], {n: [0, 0.1] for n in NAMES}, alt=WORDS),
}
