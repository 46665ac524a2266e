"""The embedding explorer: the map, and the way from a point to its voxel."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ipywidgets import Widget
from PIL import Image
from toy_views import LABEL, WRONG, embedding_view

from ssltut.errors import ConfigError
from ssltut.show.static.embedding import flatten

pytestmark = pytest.mark.usefixtures("lab")


def test_principal_components_are_those_of_the_covariance():
    x = np.random.default_rng(3).normal(size=(60, 4)) * (5, 2, 1, 0.1)
    points, names = flatten(x)
    values, turn = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(0)) @ turn[:, :-3:-1]
    assert abs(points) == pytest.approx(abs(expected))
    assert names[0] == f"component 1 ({values[-1] / values.sum():.0%} of the variance)"


def test_other_maps_are_used_where_installed_and_asked_for_in_one_line(monkeypatch):
    x, made = np.random.default_rng(3).normal(size=(20, 4)), []

    class Fake:
        def __init__(self, **options: object) -> None:
            made.append(options)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2]

    monkeypatch.setitem(sys.modules, "sklearn.manifold", SimpleNamespace(TSNE=Fake))
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    assert (flatten(x, "tsne", 5)[0] == x[:, :2]).all()
    assert flatten(x, "umap", 5)[1] == ["UMAP 1, no unit", "UMAP 2, no unit"]
    assert made == [
        {"perplexity": 19 / 3, "init": "pca", "random_state": 5},
        {"n_neighbors": 15, "random_state": 5},
    ]
    for method, module, package in (
        ("tsne", "sklearn.manifold", "scikit-learn"),
        ("umap", "umap", "umap-learn"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            ConfigError, match=f"needs {package}, which is not installed.*or use method='pca'"
        ):
            flatten(x, method)


@pytest.mark.parametrize(("method", "module"), [("tsne", "sklearn"), ("umap", "umap")])
def test_other_maps_keep_groups_together(method, module):
    pytest.importorskip(module)
    rng = np.random.default_rng(0)
    x, group = (
        np.concatenate([rng.normal(middle, 1, (60, 8)) for middle in (0, 9, 18)]),
        np.repeat([0, 1, 2], 60),
    )
    place, _ = flatten(x, method)
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1) + np.diag(np.full(180, np.inf))
    assert (group[apart.argmin(1)] == group).all()
    assert np.allclose(place, flatten(x, method)[0])


@pytest.mark.parametrize(
    "given", [(np.ones((2, 5)),), (np.ones((9, 1)),), (np.ones((9, 5)), "lda")]
)
def test_vectors_without_a_map_are_refused(given):
    with pytest.raises(ConfigError, match="a map of vectors of shape"):
        flatten(*given)


def test_embedding_map_leads_to_the_voxel(monkeypatch):
    view = embedding_view()
    assert hasattr(view.map, "batch_update")
    view.point.value = 17
    place = np.argwhere(LABEL >= 0)[:: LABEL.size // 40][17]
    assert view.explorer.at == tuple(place)
    assert f"voxel {tuple(map(int, place))}" in view.description.value
    ring = view.map.data[-1]
    view.colour.value = "right"
    trace = view.map.data[1]
    assert trace.name == "wrong"
    assert trace.marker.symbol == "square"
    assert len(trace.x) == (WRONG[tuple(np.argwhere(LABEL >= 0)[::24][:40].T)]).sum()
    (
        trace._dispatch_on_click(SimpleNamespace(point_inds=[2]), None)
        if hasattr(trace, "_dispatch_on_click")
        else trace._click_callbacks[0](trace, SimpleNamespace(point_inds=[2]), None)
    )
    assert (ring.x[0], ring.y[0]) == (trace.x[2], trace.y[2])
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    plain = embedding_view(reliable=None)
    before = plain.map.value
    plain.point.value = 3
    assert plain.map.value != before
    assert Image.open(io.BytesIO(plain.map.value)).width > 500


def test_a_plotly_figure_is_sent_when_it_is_complete(monkeypatch):
    states, opened = [], Widget.open
    monkeypatch.setattr(
        Widget,
        "open",
        lambda self: (
            states.append(len(self._widget_data or ())) if hasattr(self, "_widget_data") else None,
            opened(self),
        ),
    )
    view = embedding_view()
    assert states == [len(view.map.data)] == [4]
    assert view.map.model_id


def test_an_embedding_map_of_unequal_lengths_is_refused():
    with pytest.raises(
        ConfigError,
        match="an embedding map of 40 vectors, 40 places, 40 class, 40 reliable, 39 right",
    ):
        embedding_view(right=np.ones(39, bool))
