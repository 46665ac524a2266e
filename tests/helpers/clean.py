"""Environments that have the libraries of this one and nothing of the clone, and wheels to try."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
NOT_BUILT_FROM = (".git", ".venv", "*.egg-info", "build", "my", "archive", "tests", "__pycache__")
# Runs in every process of a clean environment: nothing leaves the machine, and nothing of the clone
# is opened but the libraries of its .venv.
GUARD = """
import os, sys

def alone(event, values):
    if event == "socket.connect" and isinstance(values[1], tuple):
        if values[1][0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"offline, but asked for {values[1]}")
    if event == "open" and isinstance(values[0], str) and values[0].startswith(ROOT + os.sep):
        if not values[0].startswith(LIBRARIES):
            raise OSError(f"outside the clone, but opened {values[0]}")

sys.addaudithook(alone)
"""
OWN = ("PYTHONPATH", "JUPYTER_PATH", "SSLTUT_CACHE", "MPLBACKEND", "JPY_SESSION_NAME")


def build(hook: str, source: Path, out: Path) -> Path:
    """What a hook of the build backend writes to ``out``, without a network."""
    command = [sys.executable, "-c", BUILD, hook, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.iterdir())


def build_sdist(folder: Path) -> Path:
    """The sdist of the clone, from a copy: building leaves nothing in the clone."""
    shutil.copytree(ROOT, folder / "clone", ignore=shutil.ignore_patterns(*NOT_BUILT_FROM))
    return build("build_sdist", folder / "clone", folder / "sdist")


def build_wheel(sdist: Path, folder: Path) -> Path:
    """The wheel that the files of an sdist give; its folder has a space in its name."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return build("build_wheel", source, folder / "one release")


def link_libraries(folder: Path) -> None:
    """Links to all that is installed here but ssltut."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "ssltut" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)


class Clean:
    """An environment in ``folder``; commands run in its sub-folder "my course"."""

    def __init__(self, folder: Path) -> None:
        self.course = folder / "my course"
        self.course.mkdir(parents=True)
        venv.create(folder / "venv", symlinks=True)
        self.bin = folder / "venv" / "bin"
        self.python = str(self.bin / "python")
        link_libraries(folder / "libraries")
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        installed = str(Path(sysconfig.get_path("purelib")).parents[2])
        (site / "guard.py").write_text(f"ROOT = {str(ROOT)!r}\nLIBRARIES = {installed!r}\n{GUARD}")
        (site / "guard.pth").write_text(f"import guard\n{folder / 'libraries'}\n")
        kernel = folder / "venv" / "share" / "jupyter" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        command = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": command, "display_name": "clean", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        self.environment = {name: value for name, value in os.environ.items() if name not in OWN}
        self.environment |= {"HOME": str(folder), "JUPYTER_PREFER_ENV_PATH": "1"}
        self.environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def install(self, wheel: Path) -> None:
        self.run(self.python, "-m", "pip", "install", "--no-deps", "--quiet", str(wheel))

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command prints; of one that ``fails``, what it says of that."""
        options = {"cwd": self.course, "env": self.environment, "text": True}
        done = subprocess.run(command, capture_output=True, check=False, **options)
        assert bool(done.returncode) is fails, done.stdout[-1000:] + done.stderr[-3000:]
        return done.stderr if fails else done.stdout

    def papermill(self, source: Path, *given: str, fails: bool = False) -> str:
        """Run a notebook into one of its name in the folder; what papermill says."""
        command = (self.python, "-m", "papermill", "-k", "python3", "--no-progress-bar")
        target = str(self.course / f"{source.stem}.run.ipynb")
        return self.run(*command, str(source), target, *given, fails=fails)

    def notebook(self, source: Path, *given: str) -> nbformat.NotebookNode:
        """The notebook as papermill leaves it."""
        self.papermill(source, *given)
        return nbformat.read(self.course / f"{source.stem}.run.ipynb", as_version=4)


def outputs_of(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """All outputs of all cells."""
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def text_of(book: nbformat.NotebookNode) -> str:
    """All that the cells printed or showed as text."""
    found = outputs_of(book)
    return "\n".join(
        str(one.get("text") or one.get("data", {}).get("text/plain", "")) for one in found
    )
