"""Pictures of scans, labels, uncertainty, training and matches; each needs its ``alt`` text.

Every view is complete as a still picture (``static``) and better as a widget (``live``): the live
ones return a widget that carries its picture or, in the static frontend, the picture alone. A view
is imported when it is first used: ``from ssltut import show`` costs nothing.
"""

from lazy_loader import attach

VIEWS = {
    "frontends": ["frontend"],
    "live.correspondence": ["explore_matches"],
    "live.explorers": ["explore_embeddings", "explore_uncertainty"],
    "live.interact": ["interact"],
    "live.scene3d": ["correspondences"],
    "live.slices": ["slices"],
    "live.surface": ["explore_surface"],
    "live.training": ["LiveCurves"],
    "live.volume": ["volume"],
    "static.charts": ["dot_matrix", "intervals", "paired_strip"],
    "static.curves": ["curves", "lines", "risk_coverage"],
    "static.pictures": ["Picture", "picture"],
    "static.scene3d": ["surface"],
    "static.slices": ["densest", "grid", "planes"],
}
__getattr__, __dir__, __all__ = attach(__name__, submod_attrs=VIEWS)
