"""Do the tests notice a fault? ``python tests/mutation [FILE ...] [--each 20] [--seed 0]``.

Makes single edits in the methods (a sign, a comparison, a constant, a missing detach, the least in
place of the largest), each in a copy of the package, and runs the tests of that file. Prints each
edit that no test noticed and the share that was noticed; ``--list`` only prints the edits. An edit
takes about five seconds.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from edits import Edit, edits_of

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
METHODS = ROOT / "ssltut" / "methods"
# The tests of a file that are called otherwise; the golden values and the option tables, for all.
OTHERS = {
    "losses": ["test_losses"],
    "uncertainty": ["test_uncertainty", "test_embedding_matching"],
    "schedules": ["test_losses", "test_mean_teacher", "test_baselines"],
    "contract": ["test_methods"],
    "primitives": ["test_matching", "test_embedding_matching", "test_vote"],
    "teacher": ["test_uncertainty", "test_embedding_matching", "test_vote"],
    "evidence": ["test_medl"],
    "adversarial": ["test_ss_net"],
    "shapes": ["test_shapes", "test_ersr"],
    "supervised": ["test_methods"],
}
SECONDS = 180  # an edit whose tests run longer counts as noticed


def tests_of(file: Path) -> list[str]:
    """The arguments of pytest for an edit of ``file``, those that fail soonest first."""
    folder, name = TESTS / "methods", file.stem
    own = [folder / f"test_{name}.py", *(folder / f"{n}.py" for n in OTHERS.get(name, []))]
    shared = [folder / f"test_{n}.py" for n in ("baselines", "heads", "mean_teacher")]
    chosen = [path for path in dict.fromkeys([*own, *shared]) if path.exists()]
    method = file.parent.name in ("classic", "further", "matching") and name not in OTHERS
    golden = f"{folder / 'test_golden.py'}"
    words = f"one and {name}" if method and name not in ("vote", "beside") else "one"
    return [golden, *map(str, chosen), "-k", f"not golden or ({words})"]


def fails(file: Path, place: Path) -> bool:
    """Whether the tests of ``file`` fail on the copy in ``place``; in a process of its own."""
    child = os.fork()
    if child == 0:
        os.chdir(place)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        signal.alarm(SECONDS)
        sys.path.insert(0, str(place))
        os.environ["PYTHONPATH"] = str(place)
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        code = pytest.main([*options, *tests_of(file)])
        os._exit(min(int(code), 1))
    _, status = os.waitpid(child, 0)
    return status != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: all of ssltut/methods")
    parser.add_argument("--each", type=int, default=12, help="edits a file, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    files = [file.resolve() for file in args.files] or sorted(METHODS.rglob("*.py"))
    drawn: list[Edit] = []
    for file in files:
        edits = edits_of(file, ROOT)
        chosen = random.Random(f"{args.seed} {file.name}").sample(edits, min(args.each, len(edits)))
        drawn += sorted(chosen)
    if args.list:
        print(*drawn, sep="\n")
        return 0
    # What takes long to import is imported once; the package itself anew for each edit.
    import scipy.ndimage  # noqa: F401
    import torch

    torch.set_num_threads(1)
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(ROOT / "ssltut", place / "ssltut")
        for file in dict.fromkeys(ROOT / edit.file for edit in drawn):
            if fails(file, place):
                print(f"the tests of {file.name} fail without any edit: mend them first")
                return 1
        for edit in drawn:
            original = (ROOT / edit.file).read_text(encoding="utf-8")
            (place / edit.file).write_text(edit.applied_to(original), encoding="utf-8")
            if not fails(ROOT / edit.file, place):
                survivors.append(edit)
                print(f"not noticed  {edit}", flush=True)
            (place / edit.file).write_text(original, encoding="utf-8")
    share = 1.0 - len(survivors) / max(1, len(drawn))
    print(f"{len(drawn) - len(survivors)} of {len(drawn)} edits noticed ({share:.0%})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
