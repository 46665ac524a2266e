"""What a wheel holds beside the code: everything else is in pyproject.toml.

The notebooks read files of the project that are not in ``ssltut/``: records, figures, the gallery.
A wheel has a copy of them in ``ssltut/project``, records compressed; ``ssltut.files.PROJECT`` finds
them there, and in a clone where they are. ``ssltut/COMMIT`` says what it was made from: for
``ssltut --version``.
"""

import gzip
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
COPIED = (
    "docs/glossary.md",
    "notebooks/*.ipynb",
    "notebooks/solutions/*.ipynb",
    "notebooks/figures/*.png",
    "notebooks/figures/gallery/*.png",
    "notebooks/gallery/*.py",
)
RECORDS = ("results/*.csv", "results/gpu/*.csv")
DESCRIBE = ("git", "describe", "--tags", "--long", "--always", "--dirty")


def write_commit(folder: Path) -> None:
    """``ssltut/COMMIT`` in ``folder``: as git describes a clone, or as an sdist brought it."""
    target, brought = folder / "ssltut" / "COMMIT", ROOT / "ssltut" / "COMMIT"
    if (ROOT / ".git").exists():
        found = subprocess.run(DESCRIBE, cwd=ROOT, capture_output=True, text=True, check=False)
        target.write_text(found.stdout)
    elif brought.is_file():
        shutil.copyfile(brought, target)


class WithCommit(sdist):
    """An sdist that says which commit it was made from."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(Path(base_dir))


class WithProject(build_py):
    """Builds the package and, unless it is installed in place, the files of the project."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        write_commit(Path(self.build_lib))
        project = Path(self.build_lib, "ssltut", "project")
        shutil.rmtree(project, ignore_errors=True)  # nothing of an earlier build
        for pattern in (*COPIED, *RECORDS):
            if not (files := sorted(ROOT.glob(pattern))):
                raise SystemExit(f"{pattern}: no such files. Next: build from a clone or the sdist")
            for file in files:
                target = project / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                if pattern in RECORDS:
                    # Without a time and a name: the same records are the same bytes.
                    packed = gzip.compress(file.read_bytes(), mtime=0)
                    target.with_name(f"{file.name}.gz").write_bytes(packed)
                else:
                    shutil.copyfile(file, target)


setup(cmdclass={"build_py": WithProject, "sdist": WithCommit})
