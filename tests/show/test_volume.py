"""A whole scan in three dimensions: the viewer that is taken, its data, what it may break."""

import re
import sys
from threading import Event
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.show.live.volume import candidates, itk_view, reachable


def ball_volume(ball: SimpleNamespace) -> show.Picture:
    return show.volume(
        ball.image,
        spacing=ball.spacing,
        alt="a ball",
        label_image=ball.label,
        table=HIP,
        point_set=[(15, 21, 30)],
    )


@pytest.fixture
def kernel(monkeypatch) -> SimpleNamespace:
    """A kernel that a stand-in for itkwidgets hijacks on import, the way the real one does."""
    kernel = SimpleNamespace(
        shell_handlers={"execute_request": "its own"}, callbacks=["of another"], viewed=[]
    )
    watcher = SimpleNamespace(
        execute_request_handler="its own", kernel=kernel, post_run_cell="the watcher's"
    )
    watcher.shell = SimpleNamespace(
        events=SimpleNamespace(unregister=lambda event, call: kernel.callbacks.remove(call))
    )
    watched = ModuleType("itkwidgets.cell_watcher")
    watched.CellWatcher = lambda: watcher
    package = ModuleType("itkwidgets")

    def found(name: str) -> object:
        if name != "view":
            raise AttributeError(name)
        assert "imjoy_elfinder" in sys.modules
        if "post" not in vars(kernel):
            kernel.post = kernel.callbacks.append("the watcher's")
        kernel.shell_handlers["execute_request"] = "the watcher's"
        return lambda **layers: kernel.viewed.append(layers)

    package.__getattr__ = found
    monkeypatch.setitem(sys.modules, "itkwidgets", package)
    monkeypatch.setitem(sys.modules, "itkwidgets.cell_watcher", watched)
    monkeypatch.setitem(sys.modules, "imjoy_elfinder", ModuleType("imjoy_elfinder"))
    return kernel


@pytest.fixture
def viewers(monkeypatch) -> SimpleNamespace:
    """Which viewers are there, and what was shown: itkwidgets fails, the others are stand-ins."""
    told = SimpleNamespace(shown=[], missing=set(), online=True, installed=False)
    monkeypatch.setattr("ssltut.show.live.volume.find_spec", lambda name: name not in told.missing)
    monkeypatch.setattr("ssltut.show.live.volume.reachable", lambda: told.online)
    monkeypatch.setattr("ssltut.show.live.volume.scripts_installed", lambda: told.installed)
    monkeypatch.setattr("IPython.display.display", told.shown.append)
    monkeypatch.delenv("SSLTUT_VIEWER", raising=False)
    return told


def test_guard_gives_the_kernel_its_handler_back(kernel):
    for _ in range(2):  # also when the watcher's callback is no longer there
        assert callable(itk_view())
        assert kernel.shell_handlers == {"execute_request": "its own"}
        assert kernel.callbacks == ["of another"]


def test_volume_shows_its_picture_first_and_then_the_viewer(ball, lab, kernel, viewers, capsys):
    pytest.importorskip("ngff_zarr")
    shown = viewers.shown
    ball_volume(ball)._ipython_display_()
    assert [type(s).__name__ for s in shown] == ["Picture"]
    assert capsys.readouterr().out == ""
    layers = kernel.viewed[0]
    assert layers["image"].dims == ["z", "y", "x"]
    assert layers["image"].scale == dict(zip("xyz", ball.spacing, strict=False))
    assert np.asarray(layers["label_image"].data).shape == ball.label.T.shape
    x, y, z = (
        layers["point_set"][0] / ball.spacing
    )  # the point lies where the viewer has the voxel that it marks
    assert np.asarray(layers["image"].data)[round(z), round(y), round(x)] == ball.image[15, 14, 10]
    assert (x, y, z) == pytest.approx((29 - 15, 27 - 14, 10))


@pytest.mark.parametrize(
    ("missing", "online", "installed", "names", "why"),
    [
        ((), True, False, ["itkwidgets", "k3d", "plotly"], ""),
        ((), False, True, ["itkwidgets", "k3d", "plotly"], ""),
        ((), False, False, ["k3d", "plotly"], "hosts cannot be reached .*install_viewer.py"),
        (("k3d",), False, False, ["plotly"], "cannot be reached"),
        (("itkwidgets",), True, False, ["k3d", "plotly"], "itkwidgets is not installed"),
        (("itkwidgets", "k3d"), True, True, ["plotly"], "not installed"),
    ],
)
def test_best_viewer_that_works_is_taken(viewers, missing, online, installed, names, why):
    viewers.missing, viewers.online, viewers.installed = set(missing), online, installed
    found = candidates()
    assert found[0] == names
    assert re.search(why, found[1])
    assert bool(found[1]) == bool(why)


def test_viewer_can_be_named(viewers, monkeypatch):
    monkeypatch.setenv("SSLTUT_VIEWER", "plotly")
    assert candidates() == (["plotly"], "SSLTUT_VIEWER asks for it")
    monkeypatch.setenv("SSLTUT_VIEWER", "itkwidgets")
    viewers.online = False
    assert candidates() == (["itkwidgets"], "")
    monkeypatch.setenv("SSLTUT_VIEWER", "vtk")
    with pytest.raises(ConfigError, match="SSLTUT_VIEWER is 'vtk'"):
        candidates()


def test_network_is_asked_once_and_not_for_long(monkeypatch):
    asked, released = [], Event()

    def swallow(place, timeout):
        asked.append(place)
        released.wait()
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", swallow)
    assert reachable(("swallowed.invalid",), 0.1) is reachable(("swallowed.invalid",), 0.1) is False
    assert asked == [("swallowed.invalid", 443)]  # and nobody waited for its answer
    released.set()
    monkeypatch.setattr(
        "socket.create_connection", lambda place, timeout: SimpleNamespace(close=lambda: None)
    )
    assert reachable(("open.invalid",), 1.0) is True


@pytest.mark.parametrize("missing", [(), ("k3d",)])
def test_volume_goes_on_when_the_viewer_does_not(
    ball, lab, kernel, viewers, monkeypatch, capsys, missing
):
    pytest.importorskip("k3d")
    monkeypatch.setitem(sys.modules, "itkwidgets", None)
    viewers.missing = set(missing)
    ball_volume(ball)._ipython_display_()
    expected = "plotly" if missing else "k3d"
    said = capsys.readouterr().out
    still, both = viewers.shown
    assert still.role == "beside"  # itkwidgets, which was tried first, may have left a blank
    left, right = both.children  # viewer and front view together fit on a laptop's screen
    viewer = left.children[0]
    assert type(viewer).__name__ == ("CompleteFigure" if missing else "Plot")
    assert 'alt="brightest value, from the front"' in right.children[0].value
    assert said.startswith(
        f"3D viewer: {expected}, because itkwidgets did not open (ModuleNotFoundError"
    )
    assert said.count("\n") == 1
    if missing:
        assert [t.name for t in viewer.data] == ["hip bone", "femur", "points"]
    else:
        volume, *meshes, points = viewer.objects
        assert [o.name for o in (volume, *meshes, points)] == [
            "image",
            "hip bone",
            "femur",
            "points",
        ]
        assert len(viewer.camera) == 9


def test_volume_without_any_viewer_says_so_and_keeps_its_picture(
    ball, lab, viewers, monkeypatch, capsys
):
    monkeypatch.setenv("SSLTUT_VIEWER", "plotly")
    view = show.volume(ball.image, spacing=ball.spacing, alt="an image alone")
    view._ipython_display_()
    assert [type(s).__name__ for s in viewers.shown] == ["Picture"]
    assert (
        "No 3D viewer opened: plotly did not open (ConfigError: plotly: there is neither a label"
        " nor a point" in capsys.readouterr().out
    )
    show.volume(
        ball.image, spacing=ball.spacing, alt="points alone", point_set=[(15, 21, 30)]
    )._ipython_display_()
    assert viewers.shown[-2].role == "still"  # hidden while plotly lives
    assert [t.name for t in viewers.shown[-1].children[0].children[0].data] == ["points"]


def test_volume_refuses_a_label_on_another_grid(ball):
    with pytest.raises(ConfigError, match="label_image has shape"):
        show.volume(ball.image, spacing=ball.spacing, alt="a ball", label_image=ball.label[1:])
    show.volume(ball.image, spacing=ball.spacing, alt="a ball")
