"""The text files that ssltut reads, with something changed in them."""

import json
import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy import toy_cohort
from toy_cli import METHOD, QUICK, ssltut
from toy_nifti import HU, LABEL, save
from trials import Call, Make

from ssltut.io.cohort_folder import write_cohort

ODD: list[Any] = [None, True, 0, -1, 5, 1e308, float("nan"), 10**400, "", "x", "9" * 5000, [], {}]
ODD += [[[]], [None], ["a", "a"], {"a": {"a": []}}, "\x1b[2J\n", "<img src=x onerror=alert(1)>"]
ODD += ["../../etc/passwd", "$\\frac{$", "\u202efdp.exe", [["x"] * 3] * 3, 0.5, "red"]
COMPARE = ["--methods", "labels_only", "--budgets", "2", "--seeds", "0", "--workers", "0"]
MAPPING = """table: {name: mine, names: [background, femur, tibia], colours: ["#000000", red, blue]}
values: {5: femur, 7: tibia}
masks: {femur_left: femur}
others: background
files: ["../labels/{name}.nii.gz"]
"""
YAML = [
    "!!python/object/apply:os.system [echo]",
    "&a [*a]",
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
    "table: {name: a, names: [*d, *d, *d, *d, *d, *d, *d, *d, *d]}\nvalues: {1: 1}",
    "--- {}\n--- {}",
    "values:\n\t1: 2",
    "values: {[1, 2]: femur}",
    "[" * 20_000,
    "values: {1: femur}\nfiles: 5",
    "values: {1: femur}\nfiles: [1, 2]",
    "values: {1e400: femur}",
    "values: {1: 2001-01-01}",
    "<<: [{}, 5]",
]


def changed_json(text: str, rng: random.Random) -> str:
    """The JSON with one to three values, keys or elements changed, added or gone."""
    content = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        holder, key = rng.choice(list(_places(content)))
        change = rng.choice(["set", "set", "set", "gone", "added", "renamed"])
        if change == "set":
            holder[key] = deepcopy(rng.choice(ODD))
        elif change == "gone":
            del holder[key]
        elif isinstance(holder, dict):
            holder["x" if change == "added" else f"{key}2"] = deepcopy(rng.choice(ODD))
        else:
            holder.append(deepcopy(rng.choice(ODD)))
        if not content:
            break
    return json.dumps(content)


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON tree, as its holder and the key there."""
    if not isinstance(content, dict | list) or not content:
        return []
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    return [(content, key) for key in keys] + [
        place for key in keys for place in _places(content[key])
    ]


def changed_text(text: str, rng: random.Random) -> bytes:
    """The file with some bytes changed, cut, doubled, or replaced by something else."""
    data = bytearray(text.encode())
    change = rng.randrange(8)
    if change == 0:
        del data[rng.randrange(len(data)) :]
    elif change == 1:
        for _ in range(rng.choice([1, 3, 30])):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif change == 2:
        at = rng.randrange(len(data))
        data[at:at] = data[: rng.choice([1, 10, 1000])]
    elif change == 3:
        data = bytearray(rng.choice([b"", b"[]", b"{}", b"null", b"5", b'"a"', b"\0" * 100]))
    elif change == 4:
        data = bytearray(rng.choice([b"[", b'{"a":']) * 100_000)
    elif change == 5:
        data = bytearray(b"\xef\xbb\xbf") + data
    elif change == 6:
        data = bytearray(text.encode("utf-16"))
    else:
        data += b'{"a": 1}' * rng.choice([1, 1000])
    return bytes(data)


def either(text: str, rng: random.Random) -> bytes:
    """Mostly a change of the JSON, else of its bytes."""
    if rng.random() < 0.75:
        return changed_json(text, rng).encode()
    return changed_text(text, rng)


@dataclass
class TextFiles:
    """What there is to change: a cohort, a run on it, and a comparison."""

    cohort: Path
    run: Path
    compared: Path

    def make(self, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        """One changed text file; the rarer kinds take longer."""
        kinds: list[Make] = [self.split, self.cases, self.of_run, mapping, self.rows, checksums]
        (kind,) = rng.choices(kinds, [3, 2, 3, 3, 1, 1])
        return kind(made, rng)

    def split(self, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        return self.of_cohort("split.json", made, rng)

    def cases(self, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        return self.of_cohort("cases.json", made, rng)

    def of_cohort(self, name: str, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        shutil.copytree(self.cohort, made / "cohort")
        file = made / "cohort" / name
        file.write_bytes(either(file.read_text(), rng))
        calls: list[Call] = [["verify", made / "cohort"], ["evaluate", self.run, made / "cohort"]]
        if rng.random() < 0.2:
            out = made.parent / "out"
            calls.append(["train", made / "cohort", *METHOD, "--out", out, *QUICK])
        return name, calls

    def of_run(self, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        shutil.copytree(self.run, made / "run")
        file = made / "run" / "run.json"
        file.write_bytes(either(file.read_text(), rng))
        scan = next((self.cohort / "images").iterdir())
        return "run.json", [["predict", made / "run", scan, "--out", made.parent / "out"]]

    def rows(self, made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        shutil.copytree(self.compared, made / "compared")
        file = rng.choice(sorted((made / "compared" / "rows").glob("*.csv")))
        text = file.read_text()
        if rng.random() < 0.5:
            cells = text.split(",")
            cells[rng.randrange(len(cells))] = str(rng.choice(ODD))
            file.write_text(",".join(cells), encoding="utf-8")
        else:
            file.write_bytes(changed_text(text, rng))
        return "rows", [["compare", self.cohort, *COMPARE, "--out", made / "compared", *QUICK]]


def prepared(folder: Path) -> Make:
    """What makes one changed text file, from a cohort, a run and a comparison in ``folder``."""
    files = TextFiles(folder / "cohort", folder / "run", folder / "compared")
    write_cohort(toy_cohort(), files.cohort)
    train = ["train", files.cohort, *METHOD, "--out", files.run]
    for words in (train, ["compare", files.cohort, *COMPARE, "--out", files.compared]):
        code, _, err = ssltut(*words, *QUICK)
        assert code == 0, err
    return files.make


def mapping(made: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """The YAML that says what the values of a label mean."""
    for part, values in (("images", HU), ("labels", LABEL)):
        (made / part).mkdir()
        save(made / part / "a.nii.gz", values)
    data, kind = changed_text(MAPPING, rng), rng.randrange(3)
    if kind == 0:
        data = rng.choice(YAML).encode()
    elif kind == 1:
        data = _changed_mapping(rng).encode()
    (made / "map.yaml").write_bytes(data)
    words = ["ingest", made, "--labels", made / "map.yaml", "--out", made.parent / "out"]
    return "label mapping", [words]


def _changed_mapping(rng: random.Random) -> str:
    import yaml

    content = json.loads(changed_json(json.dumps(yaml.safe_load(MAPPING)), rng))
    return yaml.safe_dump(content)


def checksums(made: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """The record of checksums of a public data set; fetching from a mirror reads it."""
    from toy_public import BYTES, one_file

    from ssltut.io import public

    file = one_file(checksum=None)
    (made / "mirror").mkdir()
    (made / "mirror" / file.path).write_bytes(BYTES)
    about = json.dumps({file.path: "sha256:" + "0" * 64, "other": "md5:1"})
    (made / "set").mkdir()
    (made / "set" / "checksums.json").write_bytes(either(about, rng))

    def fetch() -> None:
        sets = dict(public.SETS)
        changed = {name: value for name, value in sets.items() if name == public.EXAMPLE}
        _with_sets(
            changed, file, lambda: public.fetch_set(public.EXAMPLE, made / "set", made / "mirror")
        )

    return "checksums.json", [fetch]


def _with_sets(sets: dict[str, Any], file: Any, do: Callable[[], object]) -> None:
    from dataclasses import replace

    from ssltut.io import public

    kept = public.SETS
    public.SETS = {name: replace(value, files=(file,)) for name, value in sets.items()}
    try:
        do()
    finally:
        public.SETS = kept
