"""The embedding explorer: the map, and the way from a point to its voxel."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from toy_views import LABEL, embedding_view

from ssltut.errors import ConfigError
from ssltut.show.static.embedding import flatten

pytestmark = pytest.mark.usefixtures("lab")


def test_principal_components_are_those_of_the_covariance():
    x = np.random.default_rng(3).normal(size=(60, 4)) * (5, 2, 1, 0.1)
    points, names = flatten(x)
    values, turn = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(0)) @ turn[:, :-3:-1]
    assert abs(points) == pytest.approx(abs(expected))
    assert names[0] == f"component 1: {values[-1] / values.sum():.0%} of variance"


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
    assert type(view.map).__name__ == "ClickableImage"
    view.point.value = 17
    places = np.argwhere(LABEL >= 0)[:: LABEL.size // 40]
    assert view.explorer.at == tuple(places[17])
    assert f"voxel {tuple(map(int, places[17]))}" in view.description.value
    before = view.map.value
    view.colour.value = "right"
    assert view.map.value != before
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    plain = embedding_view(reliable=None)
    before = plain.map.value
    plain.point.value = 3
    assert plain.map.value != before
    assert Image.open(io.BytesIO(plain.map.value)).width > 500


def test_a_click_on_the_map_chooses_the_nearest_point_and_the_cursor_only_names_it():
    view = embedding_view()
    figure = view.figures["class"]
    x, y = figure.transform.transform(view.embedding_map.points[23]) / figure.image.size
    place = {"x": x + 1e-4, "y": 1 - y}
    view.map._handle_custom_msg({"kind": "hover", **place}, [])
    assert view.point.value == 0
    assert view.description.value.find("point 23:") > 0
    view.touched({"kind": "leave"})
    assert view.description.value.find("point 0:") > 0
    view.touched({"kind": "click", **place})
    assert view.point.value == 23
    assert view.explorer.at == tuple(view.embedding_map.voxels[23])


def test_an_embedding_map_of_unequal_lengths_is_refused():
    with pytest.raises(
        ConfigError,
        match="an embedding map of 40 vectors, 40 places, 40 class, 40 reliable, 39 right",
    ):
        embedding_view(right=np.ones(39, bool))
