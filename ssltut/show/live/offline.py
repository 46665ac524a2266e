"""The scripts of the 3D viewer, fetched once, so that a classroom without internet has it.

itkwidgets loads its JavaScript from public hosts whose addresses are written into its JupyterLab
extension. ``install`` fetches the same packages from the npm registry, puts them beside a copy of
that extension in which the addresses lead to the copy's own folder, and tells JupyterLab of it in
one configuration file. Nothing that is installed is changed, and ``remove`` takes both away. No
file of theirs is ours.
"""

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ssltut.errors import ConfigError, DataError

EXTENSION = "imjoy-jupyterlab-extension"
REGISTRY = "https://registry.npmjs.org"


class Package(NamedTuple):
    """An npm package: its sha256, and which of its files ({prefix in the package: place below the
    bundle}).
    """

    name: str
    version: str
    sha256: str
    files: dict[str, str]

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


# A name that is no whole path stands for all files that begin so. Readers of file formats, and
# scaling, are left out: the data come from the kernel.
PACKAGES = (
    Package(
        "vue",
        "2.6.10",
        "bfca906b64416178c061dc8f59850ff6b2a45359c8ddd7d5f924cc611128c2d4",
        {"dist/vue.min.js": "vue.min.js"},
    ),
    Package(
        "vue-js-modal",
        "2.0.0-rc.6",
        "e346934435688600bcbd39a6cd96cea248760e183fb8dad2cf3d0c8f491d5c5e",
        {"dist/index.js": "modal.js", "dist/styles.css": "modal.css"},
    ),
    Package(
        "imjoy-core",
        "0.14.5",
        "8f72a85c30e6454b2cef3e9101fca5b12676063b366427c1df47c53a0b850526",
        {
            "dist/imjoy-core.min.js": "imjoy-core.min.js",
            "dist/imjoy-loader.min.js": "viewer/imjoy-loader.min.js",
        },
    ),
    Package(
        "imjoy-rpc",
        "0.5.9",
        "97c022a7904cdfdbe073fd7aae91281269bbea73359f5c2f24be885b6b708ec1",
        {"dist/imjoy-rpc.min.js": "viewer/imjoy-rpc.min.js"},
    ),
    Package(
        "itk-vtk-viewer",
        "14.51.0",
        "5d5d6994418fdd9b203f11b9f82154b1579d3ace7bc2f77b62288108af3c549e",
        {
            "dist/index.html": "viewer/index.html",
            "dist/itkVtkViewer.js": "viewer/itkVtkViewer.js",
            "dist/124.itkVtkViewer.js": "viewer/124.itkVtkViewer.js",
            "dist/itk/web-workers/min-bundles/": "viewer/itk/web-workers/min-bundles/",
            "dist/itk/pipeline/BloscZarr": "viewer/itk/pipeline/BloscZarr",
        },
    ),
    Package(
        "itk-viewer-bootstrap-ui",
        "0.30.0",
        "0bbba53843e05f9d2b2f85d2adacda79786ab6269793c843234031b9f167a583",
        {"dist/bootstrapUIMachineOptions.js.es.js": "viewer/ui.js"},
    ),
)
HERE = "window.ssltutViewer"
PAUSE = "new Promise(done => setTimeout(done, 200))"
# What stands in the extension's scripts (a pattern of file names), and what takes its place in the
# copy.
PATCHES = (
    (
        "vendors-*imjoy-core*.js",
        r"\"https://cdn.jsdelivr.net/npm/vue@2.6.10/dist/vue.min.js\"",
        rf"{HERE} + \"vue.min.js\"",
    ),
    (
        "vendors-*imjoy-core*.js",
        r"\"https://imjoy-team.github.io/vue-js-modal/index.js\"",
        rf"{HERE} + \"modal.js\"",
    ),
    (
        "vendors-*imjoy-core*.js",
        r"\"https://imjoy-team.github.io/vue-js-modal/styles.css\"",
        rf"{HERE} + \"modal.css\"",
    ),
    (
        "vendors-*imjoy-core*.js",
        r"\"https://cdn.jsdelivr.net/npm/@oeway/vue-window@2.4.1-a/lib/index.js\"",
        rf"{HERE} + \"windows.js\"",
    ),
    ("vendors-*imjoy-core*.js", "`https://cdn.jsdelivr.net/npm/imjoy-core@${version}/dist/`", HERE),
    (
        "lib_index*.js",
        "async createWindow(_plugin, w, extra_config) {",
        (
            'async createWindow(_plugin, w, extra_config) { if (w.type === "itk-vtk-viewer") {'
            f' w.src = {HERE} + "viewer/index.html"; if (w.config && w.config.uiMachineOptions)'
            f' w.config.uiMachineOptions.href = {HERE} + "viewer/ui.js"; }}'
        ),
    ),
    (
        "lib_index*.js",
        "process_url_query: true,",
        f'process_url_query: true, default_rpc_base_url: {HERE} + "viewer/",',
    ),
    (
        "lib_index*.js",
        '<img src="https://imjoy.io/static/img/imjoy-logo-black.svg" style="height: 17px;">',
        "3D",
    ),
    # A cell may run before the extension knows its kernel, as with "Run All" on opening: wait
    # instead of giving up.
    (
        "lib_index*.js",
        "async function connectPlugin(kernel_id) {",
        (
            "async function connectPlugin(kernel_id) { for (let i = 0; i < 3000 &&"
            f" !kernelInfo[kernel_id]; i++) await {PAUSE};"
        ),
    ),
)
PAGE = (
    ('src="https://lib.imjoy.io/imjoy-loader.js"', 'src="imjoy-loader.min.js"'),
    ("api_version: '0.2.3'", "api_version: '0.2.3', base_url: './'"),
)
CORE = (
    ("https://imjoy-team.github.io/", "./not-here/"),
)  # plugins nobody needs: missing at once instead of after a time-out
FIRST_LINES = (
    f'{HERE} = new URL("ssltut/", document.currentScript.src).href;\nwindow.connectPlugin = async'
    " kernel => { const early = window.connectPlugin; while (window.connectPlugin === early)"
    f" await {PAUSE}; return window.connectPlugin(kernel); }};\n"
)
NO_WINDOWS = (  # its floating windows: the viewer stands in the notebook and needs none
    "window.VueWindow = { install() {} };\n"
)


@dataclass(frozen=True)
class Places:
    """Where things are: ``folder`` holds the patched extension, ``config`` tells JupyterLab so,
    ``original`` is the extension as installed.
    """

    folder: Path
    config: Path
    original: Path

    @property
    def extension(self) -> Path:
        return self.folder / EXTENSION


def places() -> Places:
    """For this environment: a virtual environment keeps its own configuration, any other Python
    that of its user.
    """
    from jupyter_core.paths import jupyter_config_dir

    from ssltut.files import cache_dir

    root = (
        Path(sys.prefix) / "etc" / "jupyter"
        if sys.prefix != sys.base_prefix
        else Path(jupyter_config_dir())
    )
    original = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / EXTENSION
    return Places(cache_dir() / "viewer", root / "jupyter_lab_config.json", original)


def installed(where: Places | None = None) -> bool:
    """Whether the bundle is there and JupyterLab is told of it."""
    where = where or places()
    with suppress(DataError):
        return (
            str(where.folder) in told(where.config)[1]
            and (where.extension / "package.json").is_file()
        )
    return False


def told(config: Path) -> tuple[dict, list[str]]:
    """A JupyterLab configuration file, and the list of extra extension folders inside it. Raises
    DataError for one that is not JSON.
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise DataError(
            f"the configuration of JupyterLab is not JSON ({error})",
            where=config,
            fix="mend or remove the file",
        ) from None
    return values, values.setdefault("LabApp", {}).setdefault("extra_labextensions_path", [])


def tell(config: Path, folder: Path, *, of: bool) -> None:
    """Add ``folder`` to JupyterLab's extra extension folders, or take it away; whatever else the
    file says stays.
    """
    values, folders = told(config)
    folders[:] = [name for name in folders if name != str(folder)] + [str(folder)] * of
    if not folders:
        del values["LabApp"]["extra_labextensions_path"]
    if not values["LabApp"]:
        del values["LabApp"]
    if values:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(values, indent=1), encoding="utf-8")
    else:
        config.unlink(missing_ok=True)


def install(
    *, registry: str | None = None, where: Places | None = None, log: Callable[[str], None] = print
) -> Places:
    """Fetch the viewer's packages (54 MB), keep what it needs (8 MB), and point JupyterLab to it;
    what was there is replaced.

    registry   address of an npm registry, or a folder that holds the archives (default:
               SSLTUT_NPM_REGISTRY, then registry.npmjs.org)
    Raises DataError without a network, for a wrong checksum, or when the installed extension is not
    one that can be patched; ConfigError when itkwidgets' JupyterLab extension is not installed.
    """
    where, registry = (
        where or places(),
        registry or os.environ.get("SSLTUT_NPM_REGISTRY") or REGISTRY,
    )
    told(where.config)  # a broken file shall not be found after 54 MB
    if not (where.original / "package.json").is_file():
        raise ConfigError(
            "itkwidgets' JupyterLab extension is not installed",
            where=where.original,
            fix='pip install "ssltut[viewer,lab]"',
        )
    part = where.folder.with_name(f".{os.getpid()}-viewer")
    try:
        shutil.copytree(where.original, part / EXTENSION)
        static = part / EXTENSION / "static"
        patch(static)
        for package in PACKAGES:
            log(f"fetching {package.archive}")
            unpack(package, fetched(package, registry, part), static / "ssltut")
        (static / "ssltut" / "windows.js").write_text(NO_WINDOWS, encoding="utf-8")
        replace_in(static / "ssltut" / "viewer" / "index.html", PAGE)
        replace_in(static / "ssltut" / "imjoy-core.min.js", CORE)
        for archive in part.glob("*.tgz"):
            archive.unlink()
        shutil.rmtree(where.folder, ignore_errors=True)
        os.replace(part, where.folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    tell(where.config, where.folder, of=True)
    return where


def remove(where: Places | None = None) -> list[Path]:
    """Take away what ``install`` made; returns what was there."""
    where = where or places()
    found = [where.folder] * where.folder.exists() + [where.config] * (
        str(where.folder) in told(where.config)[1]
    )
    tell(where.config, where.folder, of=False)
    shutil.rmtree(where.folder, ignore_errors=True)
    return found


def patch(static: Path) -> None:
    """Lead the addresses in a copy of the extension's scripts to the folder they lie in, whatever
    address the server has.
    """
    for pattern, old, new in PATCHES:
        for script in (scripts := sorted(static.glob(pattern))):
            replace_in(script, ((old, new),))
        if not scripts:
            raise DataError(
                f"the viewer's extension has no script {pattern}",
                where=static,
                fix=f"install {EXTENSION} 0.2.6",
            )
    for script in static.glob(PATCHES[0][0]):
        script.write_text(FIRST_LINES + script.read_text(encoding="utf-8"), encoding="utf-8")


def replace_in(script: Path, changes: tuple[tuple[str, str], ...]) -> None:
    text = script.read_text(encoding="utf-8")
    for old, new in changes:
        if old not in text:
            raise DataError(
                f"{old[:60]} is not in the viewer's script",
                where=script,
                fix="install the versions that ssltut[viewer] pins",
            )
        text = text.replace(old, new)
    script.write_text(text, encoding="utf-8")


def fetched(package: Package, registry: str, folder: Path) -> Path:
    """The archive of ``package``, with the right sha256, from a registry or a folder of
    archives.
    """
    import pooch

    target = folder / package.archive
    if "://" not in registry:
        source = Path(registry) / package.archive
        if not source.is_file():
            raise DataError(
                f"the mirror does not hold {package.archive}",
                where=registry,
                fix="put it there, or leave --registry away",
            )
        shutil.copyfile(source, target)
    else:
        url = f"{registry.rstrip('/')}/{package.name}/-/{package.archive}"
        try:
            pooch.HTTPDownloader(timeout=60)(url, str(target), None)
        except (OSError, ValueError) as error:  # requests' own errors are OSErrors
            raise DataError(
                f"the download failed ({type(error).__name__}: {str(error)[:120]})",
                where=url,
                fix=(
                    "connect to the network, or name a mirror or a folder of archives with"
                    " --registry"
                ),
            ) from None
    if (found := pooch.file_hash(str(target))) != package.sha256:
        raise DataError(
            f"wrong checksum: expected sha256 {package.sha256}, got {found}"
            f" ({target.stat().st_size} bytes)",
            where=package.archive,
            fix="try again; if it stays so, do not use the file",
        )
    return target


def unpack(package: Package, archive: Path, bundle: Path) -> None:
    """Copy the wanted files of an npm archive, and nothing else of it, below ``bundle``."""
    with tarfile.open(archive) as tar:
        members = {
            member.name.partition("/")[2]: member for member in tar.getmembers() if member.isfile()
        }
        for wanted, place in package.files.items():
            names = [
                name for name in members if name.startswith(wanted) and not name.endswith(".map")
            ]
            if not names or any(".." in Path(name).parts for name in names):
                raise DataError(
                    f"{package.archive} holds no sound {wanted}",
                    where=archive,
                    fix="try again; if it stays so, do not use the file",
                )
            for name in names:
                target = bundle / (place + name.removeprefix(wanted))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(members[name]).read())
