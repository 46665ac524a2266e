"""The 3D viewer without internet: installing, removing, and the message of each broken step.

The packages here are tiny and our own.
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import install_viewer
import pytest
from install_viewer import CORE_SCRIPTS, INDEX_SCRIPTS, PACKAGES, PATCHES, Package, main

from ssltut.errors import ConfigError, DataError
from ssltut.show.live import volume
from ssltut.show.live.volume import EXTENSION, scripts_installed

SCRIPTS = {"vendors-of-imjoy-core.1.js": CORE_SCRIPTS, "lib_index_js.1.js": INDEX_SCRIPTS}
CONTENT = {
    "dist/index.html": "".join(old for old, _ in install_viewer.PAGE),
    "dist/imjoy-core.min.js": "load('https://imjoy-team.github.io/x')",
}


def pack(folder: Path, package: Package, leave: str = "") -> Package:
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


class Places(NamedTuple):
    """``folder`` and ``config`` are what is installed, ``original`` the extension as it came."""

    folder: Path
    config: Path
    original: Path

    @property
    def static(self) -> Path:
        return self.folder / EXTENSION / "static"


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    packed = tuple(pack(folder, package) for package in PACKAGES)
    monkeypatch.setattr(install_viewer, "PACKAGES", packed)
    return folder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A lab extension of ours, with the lines that are patched and nothing else."""
    here = Places(
        tmp_path / "cache" / "viewer",
        tmp_path / "etc" / "jupyter_lab_config.json",
        tmp_path / "share" / EXTENSION,
    )
    (here.original / "static").mkdir(parents=True)
    (here.original / "package.json").write_text(json.dumps({"name": EXTENSION, "version": "0.2.6"}))
    for script, pattern in SCRIPTS.items():
        lines = "\n".join(old for old, _ in PATCHES[pattern])
        (here.original / "static" / script).write_text(lines)
    for module in (install_viewer, volume):
        monkeypatch.setattr(module, "scripts_place", lambda: here[:2])
    monkeypatch.setattr(install_viewer, "ORIGINAL", here.original)
    return here


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_install_makes_a_copy_whose_addresses_are_its_own(
    archives: Path, places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (places.original / "static" / name).read_text() for name in SCRIPTS}
    assert not scripts_installed()
    install_viewer.install(archives)
    assert scripts_installed()
    assert capsys.readouterr().out.count("fetching") == len(PACKAGES)
    assert {name: (places.original / "static" / name).read_text() for name in SCRIPTS} == before
    static = places.static
    for script in SCRIPTS:
        text = (static / script).read_text()
        assert "://" not in text
        assert "window.ssltutViewer" in text
    first = 'window.ssltutViewer = new URL("ssltut/", document.currentScript.src)'
    assert (static / "vendors-of-imjoy-core.1.js").read_text().startswith(first)
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
    assert json.loads(places.config.read_text()) == {
        "LabApp": {"extra_labextensions_path": [str(places.folder)]}
    }
    assert not list(places.folder.parent.glob(".*"))


def test_every_patch_is_a_place_in_the_extension_that_is_pinned() -> None:
    original = install_viewer.ORIGINAL / "static"
    if not original.is_dir():
        pytest.skip("itkwidgets' lab extension is not installed")
    for pattern, changes in PATCHES.items():
        scripts = [script.read_text(encoding="utf-8") for script in original.glob(pattern)]
        for old, _ in changes:
            assert sum(text.count(old) for text in scripts) == 1


def test_jupyterlab_serves_the_copy_and_not_the_original(archives: Path, places: Places) -> None:
    config = pytest.importorskip("jupyterlab_server.config")
    install_viewer.install(archives)
    (extra,) = json.loads(places.config.read_text())["LabApp"]["extra_labextensions_path"]
    # LabApp puts the extra folders first
    extensions = config.get_federated_extensions([extra, str(places.original.parent)])
    assert extensions[EXTENSION]["ext_path"] == str(places.folder / EXTENSION)


def test_remove_leaves_what_others_wrote(archives: Path, places: Places) -> None:
    places.config.parent.mkdir(parents=True)
    places.config.write_text(
        '{"LabApp": {"extra_labextensions_path": ["/theirs"]}, "ServerApp": {"port": 1}}'
    )
    for _ in range(2):  # twice is once
        install_viewer.install(archives)
    assert json.loads(places.config.read_text())["LabApp"]["extra_labextensions_path"] == [
        "/theirs",
        str(places.folder),
    ]
    assert set(install_viewer.remove()) == {places.folder, places.config}
    assert not places.folder.exists()
    assert not scripts_installed()
    assert json.loads(places.config.read_text()) == {
        "LabApp": {"extra_labextensions_path": ["/theirs"]},
        "ServerApp": {"port": 1},
    }
    assert install_viewer.remove() == []
    places.config.unlink()
    assert install_viewer.remove() == []
    assert not places.config.exists()


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put an npm of one Python statement on the path, alone."""

    def write(statement: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{statement}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return write


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a POSIX script")
def test_packages_come_from_the_npm_client(
    archives: Path, places: Places, fake_npm: Callable[[str], None]
) -> None:
    fake_npm(
        "assert sys.argv[1:3] == ['pack', '--silent']\n"
        "name = sys.argv[3].replace('@', '-') + '.tgz'\n"
        f"shutil.copyfile({str(archives)!r} + '/' + name, name)"
    )
    install_viewer.install()
    assert scripts_installed()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a POSIX script")
def test_npm_that_fails_or_is_not_there_is_an_error(
    archives: Path, places: Places, fake_npm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm("sys.exit('npm error code ENOTFOUND')")
    with pytest.raises(DataError, match=r"npm pack failed .npm error code ENOTFOUND"):
        install_viewer.install()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="npm client is not installed"):
        install_viewer.install()
    assert not places.folder.exists()
    assert not places.config.exists()


def break_extension(places: Places, archives: Path) -> None:
    (places.original / "package.json").unlink()


def break_script(places: Places, archives: Path) -> None:
    (places.original / "static" / "lib_index_js.1.js").write_text("another version")


def lose_script(places: Places, archives: Path) -> None:
    (places.original / "static" / "lib_index_js.1.js").unlink()


def lose_archive(places: Places, archives: Path) -> None:
    (archives / PACKAGES[0].archive).unlink()


def change_archive(places: Places, archives: Path) -> None:
    (archives / PACKAGES[1].archive).write_bytes(b"something else")


def break_config(places: Places, archives: Path) -> None:
    places.config.parent.mkdir(parents=True)
    places.config.write_text("{")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (break_extension, ConfigError, "extension is not installed"),
        (break_script, DataError, "is not in the viewer's script"),
        (lose_script, DataError, r"has no script lib_index"),
        (lose_archive, DataError, "the folder does not hold vue-2"),
        (change_archive, DataError, r"wrong checksum: .*\(14 bytes\)"),
        (break_config, DataError, "not valid JSON"),
    ],
)
def test_install_leaves_nothing_half_done(
    archives: Path,
    places: Places,
    spoil: Callable[[Places, Path], None],
    error: type[Exception],
    message: str,
) -> None:
    spoil(places, archives)
    with pytest.raises(error, match=message):
        install_viewer.install(archives)
    assert not scripts_installed()
    assert not places.folder.exists()
    assert not list(places.folder.parent.glob(".*"))


def test_install_refuses_an_archive_without_what_it_is_for(
    archives: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(archives, PACKAGES[4], leave="dist/itkVtk")
    monkeypatch.setattr(install_viewer, "PACKAGES", (packed,))
    with pytest.raises(DataError, match=r"holds no sound dist/itkVtkViewer\.js"):
        install_viewer.install(archives)


def test_script_installs_says_and_removes(
    archives: Path,
    places: Places,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ssltut.show.live.volume.reachable", lambda: False)
    monkeypatch.setattr("ssltut.show.live.volume.find_spec", lambda name: name != "k3d")
    monkeypatch.delenv("SSLTUT_VIEWER", raising=False)

    def answer(*words: str) -> str:
        assert main([*words]) == 0
        return capsys.readouterr().out

    before = answer("status")
    assert "hosts cannot be reached" in before
    assert "show.volume takes plotly; offline scripts: not installed" in before
    assert str(places.config) in answer("--from", str(archives))
    after = answer("status")
    assert f"show.volume takes itkwidgets; offline scripts: {places.folder}" in after
    assert [line.split(maxsplit=1)[1] for line in after.splitlines()[:3]] == [
        "works",
        "k3d is not installed",
        "works",
    ]
    removed = answer("remove").splitlines()
    assert removed == [f"removed {places.folder}", f"removed {places.config}"]
    assert "nothing to remove" in answer("remove")
    (archives / PACKAGES[0].archive).unlink()
    assert main(["install", "--from", str(archives)]) == 2
    assert "the folder does not hold" in capsys.readouterr().err


def test_the_configuration_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    monkeypatch.setattr(sys, "prefix", str(venv))
    config = volume.scripts_place()[1]
    assert config == venv / "etc" / "jupyter" / "jupyter_lab_config.json"
    monkeypatch.setattr(sys, "base_prefix", str(venv))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "mine"))
    assert volume.scripts_place()[1] == tmp_path / "mine" / "jupyter_lab_config.json"
