"""The scripts of the 3D viewer, fetched once, so that a classroom without internet has it.

itkwidgets loads its JavaScript from public hosts whose addresses are written into its JupyterLab
extension. ``install`` fetches the same packages with the npm client, puts them beside a copy of
that extension in which the addresses lead to the copy's own folder, and tells JupyterLab of it in
one configuration file. Nothing that is installed is changed, and ``remove`` takes both away. No
file of theirs is ours.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.show.live.volume import (
    EXTENSION,
    candidates,
    obstacles,
    scripts_installed,
    scripts_place,
)

AGAIN = "try again; if it stays so, do not use the file"
ORIGINAL = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / EXTENSION


class Package(NamedTuple):
    """An npm package, its sha256, and its wanted files {name in it: name below the bundle}."""

    name: str  # with the version, as npm writes it
    sha256: str
    files: dict[str, str]

    @property
    def archive(self) -> str:
        return self.name.replace("@", "-") + ".tgz"


# A name that is no whole path stands for all files that begin so. Readers of file formats, and
# scaling, are left out: the data come from the kernel.
PACKAGES = (
    Package(
        "vue@2.6.10",
        "bfca906b64416178c061dc8f59850ff6b2a45359c8ddd7d5f924cc611128c2d4",
        {"dist/vue.min.js": "vue.min.js"},
    ),
    Package(
        "vue-js-modal@2.0.0-rc.6",
        "e346934435688600bcbd39a6cd96cea248760e183fb8dad2cf3d0c8f491d5c5e",
        {"dist/index.js": "modal.js", "dist/styles.css": "modal.css"},
    ),
    Package(
        "imjoy-core@0.14.5",
        "8f72a85c30e6454b2cef3e9101fca5b12676063b366427c1df47c53a0b850526",
        {
            "dist/imjoy-core.min.js": "imjoy-core.min.js",
            "dist/imjoy-loader.min.js": "viewer/imjoy-loader.min.js",
        },
    ),
    Package(
        "imjoy-rpc@0.5.9",
        "97c022a7904cdfdbe073fd7aae91281269bbea73359f5c2f24be885b6b708ec1",
        {"dist/imjoy-rpc.min.js": "viewer/imjoy-rpc.min.js"},
    ),
    Package(
        "itk-vtk-viewer@14.51.0",
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
        "itk-viewer-bootstrap-ui@0.30.0",
        "0bbba53843e05f9d2b2f85d2adacda79786ab6269793c843234031b9f167a583",
        {"dist/bootstrapUIMachineOptions.js.es.js": "viewer/ui.js"},
    ),
)

Changes = Iterable[tuple[str, str]]  # what stands in a script, and what takes its place in the copy
HERE = "window.ssltutViewer"
PAUSE = "new Promise(done => setTimeout(done, 200))"
CORE_SCRIPTS, INDEX_SCRIPTS = "vendors-*imjoy-core*.js", "lib_index*.js"
OPEN_WINDOW = "async createWindow(_plugin, w, extra_config) {"
CONNECT = "async function connectPlugin(kernel_id) {"
PATCHES: dict[str, Changes] = {
    CORE_SCRIPTS: (
        (
            r"\"https://cdn.jsdelivr.net/npm/vue@2.6.10/dist/vue.min.js\"",
            rf"{HERE} + \"vue.min.js\"",
        ),
        (r"\"https://imjoy-team.github.io/vue-js-modal/index.js\"", rf"{HERE} + \"modal.js\""),
        (r"\"https://imjoy-team.github.io/vue-js-modal/styles.css\"", rf"{HERE} + \"modal.css\""),
        (
            r"\"https://cdn.jsdelivr.net/npm/@oeway/vue-window@2.4.1-a/lib/index.js\"",
            rf"{HERE} + \"windows.js\"",
        ),
        ("`https://cdn.jsdelivr.net/npm/imjoy-core@${version}/dist/`", HERE),
    ),
    INDEX_SCRIPTS: (
        (
            OPEN_WINDOW,
            f'{OPEN_WINDOW} if (w.type === "itk-vtk-viewer") {{'
            f' w.src = {HERE} + "viewer/index.html"; if (w.config && w.config.uiMachineOptions)'
            f' w.config.uiMachineOptions.href = {HERE} + "viewer/ui.js"; }}',
        ),
        (
            "process_url_query: true,",
            f'process_url_query: true, default_rpc_base_url: {HERE} + "viewer/",',
        ),
        (
            '<img src="https://imjoy.io/static/img/imjoy-logo-black.svg" style="height: 17px;">',
            "3D",
        ),
        # A cell may run before the extension knows its kernel, as with "Run All" on opening: wait
        # instead of giving up.
        (
            CONNECT,
            f"{CONNECT} for (let i = 0; i < 3000 && !kernelInfo[kernel_id]; i++) await {PAUSE};",
        ),
    ),
}
PAGE = (
    ('src="https://lib.imjoy.io/imjoy-loader.js"', 'src="imjoy-loader.min.js"'),
    ("api_version: '0.2.3'", "api_version: '0.2.3', base_url: './'"),
)
# Plugins that nobody needs are missing at once instead of after a time-out.
CORE = (("https://imjoy-team.github.io/", "./not-here/"),)
FIRST_LINES = (
    f'{HERE} = new URL("ssltut/", document.currentScript.src).href;\nwindow.connectPlugin = async'
    " kernel => { const early = window.connectPlugin; while (window.connectPlugin === early)"
    f" await {PAUSE}; return window.connectPlugin(kernel); }};\n"
)
# The viewer stands in the notebook and needs no floating windows.
NO_WINDOWS = "window.VueWindow = { install() {} };\n"


def install(archives: Path | None = None) -> None:
    """Fetch the viewer's packages (54 MB), keep what it needs (8 MB), point JupyterLab to it.

    archives   a folder that holds the packages, in place of the npm client
    Raises DataError without a network, for a wrong checksum, or when the installed extension cannot
    be patched; ConfigError without the npm client or itkwidgets' JupyterLab extension.
    """
    folder, config = scripts_place()
    extra_folders(config)  # a broken file shall not be found after 54 MB
    if not (ORIGINAL / "package.json").is_file():
        raise ConfigError(
            "itkwidgets' JupyterLab extension is not installed",
            where=ORIGINAL,
            fix='pip install "ssltut[viewer,lab]"',
        )
    part = folder.with_name(f".{os.getpid()}-viewer")
    try:
        shutil.copytree(ORIGINAL, part / EXTENSION)
        static = part / EXTENSION / "static"
        patch(static)
        for package in PACKAGES:
            print(f"fetching {package.archive}")
            archive = fetch(package, archives, part)
            unpack(package, archive, static / "ssltut")
            archive.unlink()
        (static / "ssltut" / "windows.js").write_text(NO_WINDOWS, encoding="utf-8")
        replace_in(static / "ssltut" / "viewer" / "index.html", PAGE)
        replace_in(static / "ssltut" / "imjoy-core.min.js", CORE)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    configure(config, folder, add=True)
    print(f"the scripts of the 3D viewer are in {folder}; {config} tells JupyterLab so.")
    print("Restart JupyterLab and reload its page.")


def remove() -> list[Path]:
    """Take away what ``install`` made; returns what was there."""
    folder, config = scripts_place()
    removed = [folder] if folder.exists() else []
    if str(folder) in extra_folders(config)[1]:
        removed.append(config)
    configure(config, folder, add=False)
    shutil.rmtree(folder, ignore_errors=True)
    return removed


def extra_folders(config: Path) -> tuple[dict, list[str]]:
    """A JupyterLab configuration file, and the list of extra extension folders inside it.

    Raises DataError for one that is not JSON.
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise DataError(
            f"not valid JSON ({error})", where=config, fix="mend or remove the file"
        ) from None
    return values, values.setdefault("LabApp", {}).setdefault("extra_labextensions_path", [])


def configure(config: Path, folder: Path, *, add: bool) -> None:
    """Add ``folder`` to JupyterLab's extra extension folders, or remove it; the rest stays."""
    values, folders = extra_folders(config)
    folders[:] = [name for name in folders if name != str(folder)]
    if add:
        folders.append(str(folder))
    if not folders:
        del values["LabApp"]["extra_labextensions_path"]
    if not values["LabApp"]:
        del values["LabApp"]
    if values:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(values, indent=1), encoding="utf-8")
    else:
        config.unlink(missing_ok=True)


def patch(static: Path) -> None:
    """Lead the addresses in a copy of the extension's scripts to the folder they lie in."""
    for pattern, changes in PATCHES.items():
        scripts = sorted(static.glob(pattern))
        if not scripts:
            raise DataError(
                f"the viewer's extension has no script {pattern}",
                where=static,
                fix=f"install {EXTENSION} 0.2.6",
            )
        for script in scripts:
            replace_in(script, changes, FIRST_LINES if pattern == CORE_SCRIPTS else "")


def replace_in(script: Path, changes: Changes, first_lines: str = "") -> None:
    text = first_lines + script.read_text(encoding="utf-8")
    for old, new in changes:
        if old not in text:
            raise DataError(
                f"{old[:60]} is not in the viewer's script",
                where=script,
                fix="install the versions that ssltut[viewer] pins",
            )
        text = text.replace(old, new)
    script.write_text(text, encoding="utf-8")


def fetch(package: Package, archives: Path | None, folder: Path) -> Path:
    """The archive of ``package``, with the right sha256, from npm or a folder of archives."""
    target = folder / package.archive
    if archives is None:
        npm_pack(package, folder)
    elif (archives / package.archive).is_file():
        shutil.copyfile(archives / package.archive, target)
    else:
        raise DataError(
            f"the folder does not hold {package.archive}",
            where=archives,
            fix="put it there, or leave --from away",
        )
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != package.sha256:
        raise DataError(
            f"wrong checksum: expected sha256 {package.sha256}, got {sha256}"
            f" ({target.stat().st_size} bytes)",
            where=package.archive,
            fix=AGAIN,
        )
    return target


def npm_pack(package: Package, folder: Path) -> None:
    """Put the archive of ``package`` into ``folder``, from the registry that npm is set up with."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            "the npm client is not installed",
            where="npm",
            fix="install Node.js, or name a folder of archives with --from",
        )
    command = [npm, "pack", "--silent", package.name]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode or not (folder / package.archive).is_file():
        raise DataError(
            f"npm pack failed ({(ended.stderr or ended.stdout).strip()[-200:]})",
            where=package.name,
            fix="connect to the network, or name a folder of archives with --from",
        )


def unpack(package: Package, archive: Path, bundle: Path) -> None:
    """Copy the wanted files of an npm archive, and nothing else of it, below ``bundle``."""
    with tarfile.open(archive) as tar:
        members = {
            member.name.partition("/")[2]: member for member in tar.getmembers() if member.isfile()
        }
        for wanted, place in package.files.items():
            names = [n for n in members if n.startswith(wanted) and not n.endswith(".map")]
            if not names or any(".." in Path(name).parts for name in names):
                raise DataError(
                    f"{package.archive} holds no sound {wanted}", where=archive, fix=AGAIN
                )
            for name in names:
                target = bundle / (place + name.removeprefix(wanted))
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(members[name])
                assert source is not None  # a regular file has content
                target.write_bytes(source.read())


def status() -> str:
    """What works here, a line for each viewer, and which one ``show.volume`` takes."""
    names, _ = candidates()
    scripts = str(scripts_place()[0]) if scripts_installed() else "not installed"
    lines = [f"{name:11} {why or 'works'}" for name, why in obstacles().items()]
    lines.append(f"show.volume takes {names[0] if names else 'none'}; offline scripts: {scripts}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = ("install", "status", "remove")
    parser.add_argument("action", nargs="?", default="install", choices=actions)
    about = "a folder with the archives that npm pack makes: nothing is downloaded"
    parser.add_argument("--from", dest="archives", type=Path, metavar="FOLDER", help=about)
    args = parser.parse_args(argv)
    try:
        if args.action == "install":
            install(args.archives)
        elif args.action == "remove":
            removed = [f"removed {path}" for path in remove()]
            print("\n".join(removed) or "there was nothing to remove")
        else:
            print(status())
    except SsltutError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
