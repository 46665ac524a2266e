"""Pictures of scans, labels, uncertainty, training and matches: functions of arrays and geometry
that know no method and no file.

Every view is complete as a static picture and better as a widget; each needs its ``alt`` text.
"""

from importlib import import_module

# No module is called like a view: importing a module would put it in the view's place.
HOMES = {
    "frontend": "frontends",
    "Picture": "pictures",
    "picture": "pictures",
    "planes": "slices",
    "gallery": "slices",
    "explore": "explorer",
    "vary": "arguments",
    "explore_uncertainty": "reliability",
    "explore_embeddings": "embedding",
    "LiveCurves": "training",
    "curves": "charts",
    "lines": "charts",
    "risk_coverage": "charts",
    "intervals": "charts",
    "paired": "charts",
    "budget_curves": "charts",
    "strata": "charts",
    "dot_matrix": "dots",
    "surface": "space",
    "correspondences": "space",
    "explore_matches": "matches",
    "volume": "viewer",
}


def __getattr__(name: str) -> object:
    """A view is imported when it is first used, so that ``from ssltut import show`` costs
    nothing.
    """
    if name not in HOMES:
        raise AttributeError(f"ssltut.show has no view {name!r}")
    return getattr(import_module(f"ssltut.show.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
