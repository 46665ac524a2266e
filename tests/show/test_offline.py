"""The 3D viewer without internet: installing, removing, and what each broken step says. Its
packages here are tiny and our own.
"""

import hashlib
import io
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ssltut.cli.main import main
from ssltut.errors import ConfigError, DataError
from ssltut.show.live import offline
from ssltut.show.live.offline import EXTENSION, PACKAGES, PATCHES, Places

SCRIPTS = {
    "vendors-of-imjoy-core.1.js": "vendors-*imjoy-core*.js",
    "lib_index_js.1.js": "lib_index*.js",
}
CONTENT = {
    "dist/index.html": "".join(old for old, _ in offline.PAGE),
    "dist/imjoy-core.min.js": "load('https://imjoy-team.github.io/x')",
}


def pack(folder: Path, package: offline.Package, leave: str = "") -> offline.Package:
    """A tiny archive in the shape of npm's, with every wanted file but those that begin with
    ``leave``, one unwanted and one map.
    """
    with tarfile.open(folder / package.archive, "w:gz") as tar:
        names = [
            f"{name}a.js" if name.endswith(("/", "BloscZarr")) else name
            for name in package.files
            if not leave or not name.startswith(leave)
        ]
        for name in [*names, "dist/unwanted.js", f"{names[0]}.map"]:
            data = CONTENT.get(name, f"// {name}").encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return package._replace(
        sha256=hashlib.sha256((folder / package.archive).read_bytes()).hexdigest()
    )


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setattr(offline, "PACKAGES", tuple(pack(folder, package) for package in PACKAGES))
    monkeypatch.delenv("SSLTUT_NPM_REGISTRY", raising=False)
    return folder


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A lab extension of ours, with the lines that are patched and nothing else."""
    found = Places(
        tmp_path / "cache" / "viewer",
        tmp_path / "etc" / "jupyter_lab_config.json",
        tmp_path / "share" / EXTENSION,
    )
    (found.original / "static").mkdir(parents=True)
    (found.original / "package.json").write_text(
        json.dumps({"name": EXTENSION, "version": "0.2.6"})
    )
    for script, pattern in SCRIPTS.items():
        (found.original / "static" / script).write_text(
            "\n".join(old for glob, old, _ in PATCHES if glob == pattern)
        )
    monkeypatch.setattr(offline, "places", lambda: found)
    return found


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_install_makes_a_copy_whose_addresses_are_its_own(mirror: Path, where: Places) -> None:
    before = {name: (where.original / "static" / name).read_text() for name in SCRIPTS}
    assert not offline.installed()
    said = []
    offline.install(registry=str(mirror), log=said.append)
    assert offline.installed()
    assert len(said) == len(PACKAGES)
    assert {name: (where.original / "static" / name).read_text() for name in SCRIPTS} == before
    static = where.extension / "static"
    for script in SCRIPTS:
        text = (static / script).read_text()
        assert "://" not in text
        assert "window.ssltutViewer" in text
    assert (
        (static / "vendors-of-imjoy-core.1.js")
        .read_text()
        .startswith('window.ssltutViewer = new URL("ssltut/", document.currentScript.src)')
    )
    bundle = everything(static / "ssltut")
    assert {
        "vue.min.js",
        "modal.js",
        "modal.css",
        "windows.js",
        "imjoy-core.min.js",
        "viewer/index.html",
        "viewer/imjoy-rpc.min.js",
        "viewer/ui.js",
        "viewer/itk/pipeline/BloscZarra.js",
        "viewer/itk/web-workers/min-bundles/a.js",
    } <= bundle
    assert not [name for name in bundle if "unwanted" in name or name.endswith(".map")]
    page = (static / "ssltut" / "viewer" / "index.html").read_text()
    assert "://" not in page
    assert "base_url: './'" in page
    assert "github.io" not in (static / "ssltut" / "imjoy-core.min.js").read_text()
    assert json.loads(where.config.read_text()) == {
        "LabApp": {"extra_labextensions_path": [str(where.folder)]}
    }
    assert not list(where.folder.parent.glob(".*"))


def test_every_patch_is_a_place_in_the_extension_that_is_pinned() -> None:
    original = (
        Path(offline.sys.prefix) / "share" / "jupyter" / "labextensions" / EXTENSION / "static"
    )
    if not original.is_dir():
        pytest.skip("itkwidgets' lab extension is not installed")
    for pattern, old, _ in PATCHES:
        assert (
            sum(script.read_text(encoding="utf-8").count(old) for script in original.glob(pattern))
            == 1
        )


def test_jupyterlab_serves_the_copy_and_not_the_original(mirror: Path, where: Places) -> None:
    config = pytest.importorskip("jupyterlab_server.config")
    offline.install(registry=str(mirror), log=lambda line: None)
    (extra,) = json.loads(where.config.read_text())["LabApp"]["extra_labextensions_path"]
    found = config.get_federated_extensions(
        [extra, str(where.original.parent)]
    )  # LabApp puts the extra folders first
    assert found[EXTENSION]["ext_path"] == str(where.extension)


def test_remove_leaves_what_others_wrote(mirror: Path, where: Places) -> None:
    where.config.parent.mkdir(parents=True)
    where.config.write_text(
        '{"LabApp": {"extra_labextensions_path": ["/theirs"]}, "ServerApp": {"port": 1}}'
    )
    for _ in range(2):  # twice is once
        offline.install(registry=str(mirror), log=lambda line: None)
    assert json.loads(where.config.read_text())["LabApp"]["extra_labextensions_path"] == [
        "/theirs",
        str(where.folder),
    ]
    assert set(offline.remove()) == {where.folder, where.config}
    assert not where.folder.exists()
    assert not offline.installed()
    assert json.loads(where.config.read_text()) == {
        "LabApp": {"extra_labextensions_path": ["/theirs"]},
        "ServerApp": {"port": 1},
    }
    assert offline.remove() == []
    where.config.unlink()
    assert offline.remove() == []
    assert not where.config.exists()


def test_a_registry_is_an_address_too(
    mirror: Path, where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = mirror.parent / "site"
    for package in offline.PACKAGES:
        (site / package.name / "-").mkdir(parents=True)
        (mirror / package.archive).rename(site / package.name / "-" / package.archive)
    handler = partial(
        type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *args: None}),
        directory=str(site),
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("SSLTUT_NPM_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        offline.install(log=lambda line: None)
        assert offline.installed()
    finally:
        server.shutdown()
    offline.remove()
    with pytest.raises(DataError, match="the download failed .*--registry"):
        offline.install(registry="http://127.0.0.1:9", log=lambda line: None)
    assert not where.folder.exists()
    assert not where.config.exists()


def break_extension(where: Places, mirror: Path) -> None:
    (where.original / "package.json").unlink()


def break_script(where: Places, mirror: Path) -> None:
    (where.original / "static" / "lib_index_js.1.js").write_text("another version")


def lose_script(where: Places, mirror: Path) -> None:
    (where.original / "static" / "lib_index_js.1.js").unlink()


def lose_archive(where: Places, mirror: Path) -> None:
    (mirror / PACKAGES[0].archive).unlink()


def change_archive(where: Places, mirror: Path) -> None:
    (mirror / PACKAGES[1].archive).write_bytes(b"something else")


def break_config(where: Places, mirror: Path) -> None:
    where.config.parent.mkdir(parents=True)
    where.config.write_text("{")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (break_extension, ConfigError, "extension is not installed"),
        (break_script, DataError, "is not in the viewer's script"),
        (lose_script, DataError, r"has no script lib_index"),
        (lose_archive, DataError, "the mirror does not hold vue-2"),
        (change_archive, DataError, r"wrong checksum: .*\(14 bytes\)"),
        (break_config, DataError, "is not JSON"),
    ],
)
def test_install_leaves_nothing_half_done(
    mirror: Path, where: Places, spoil, error: type[Exception], message: str
) -> None:
    spoil(where, mirror)
    with pytest.raises(error, match=message):
        offline.install(registry=str(mirror), log=lambda line: None)
    assert not offline.installed()
    assert not where.folder.exists()
    assert not list(where.folder.parent.glob(".*"))


def test_install_refuses_an_archive_without_what_it_is_for(
    mirror: Path, where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "PACKAGES", (pack(mirror, PACKAGES[4], leave="dist/itkVtk"),))
    with pytest.raises(DataError, match="holds no sound dist/itkVtkViewer.js"):
        offline.install(registry=str(mirror), log=lambda line: None)


def test_command_installs_says_and_removes(
    mirror: Path, where: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("ssltut.show.live.volume.reachable", lambda: False)
    monkeypatch.setattr("ssltut.show.live.volume.find_spec", lambda name: name != "k3d")
    monkeypatch.delenv("SSLTUT_VIEWER", raising=False)

    def answer(*words: str) -> object:
        assert main(["viewer", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = answer("status")
    assert not found["installed"]
    assert found["show.volume takes"] == "plotly"
    assert "hosts cannot be reached" in found["viewers"]["itkwidgets"]
    assert answer("install", "--registry", str(mirror)) == {
        "folder": str(where.folder),
        "config": str(where.config),
    }
    assert answer("status")["viewers"] == {
        "itkwidgets": "works",
        "k3d": "k3d is not installed",
        "plotly": "works",
    }
    assert main(["viewer", "status"]) == 0
    assert "show.volume takes itkwidgets" in capsys.readouterr().out
    assert set(answer("remove")) == {str(where.folder), str(where.config)}
    assert answer("remove") == []
    (mirror / PACKAGES[0].archive).unlink()
    assert main(["viewer", "install", "--registry", str(mirror)]) == 2
    assert "the mirror does not hold" in capsys.readouterr().err
    assert main(["viewer", "remove"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_places_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(offline.sys, "prefix", str(tmp_path / "venv"))
    assert (
        offline.places().config == tmp_path / "venv" / "etc" / "jupyter" / "jupyter_lab_config.json"
    )
    monkeypatch.setattr(offline.sys, "base_prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "mine"))
    assert offline.places().config == tmp_path / "mine" / "jupyter_lab_config.json"
