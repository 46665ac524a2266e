"""Pictures of scans, labels, uncertainty, training and matches; each needs its ``alt`` text.

Every view is complete as a still picture (``static``) and better as a widget (``live``): the live
ones return a widget that carries its picture or, in the static frontend, the picture alone.
"""

from importlib import import_module
from typing import Any

HOMES = {
    "frontend": "frontends",
    "Picture": "static.pictures",
    "picture": "static.pictures",
    "planes": "static.slices",
    "grid": "static.slices",
    "slices": "live.slices",
    "interact": "live.interact",
    "explore_uncertainty": "live.explorers",
    "explore_embeddings": "live.explorers",
    "LiveCurves": "live.training",
    "curves": "static.curves",
    "lines": "static.curves",
    "risk_coverage": "static.curves",
    "intervals": "static.charts",
    "paired_strip": "static.charts",
    "dot_matrix": "static.charts",
    "surface": "static.scene3d",
    "explore_surface": "live.surface",
    "densest": "static.slices",
    "correspondences": "live.scene3d",
    "explore_matches": "live.correspondence",
    "volume": "live.volume",
}


def __getattr__(name: str) -> Any:
    """A view is imported when it is first used: ``from ssltut import show`` costs nothing."""
    if name not in HOMES:
        raise AttributeError(f"ssltut.show has no view {name!r}")
    return getattr(import_module(f"ssltut.show.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
