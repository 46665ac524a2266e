"""Cohorts of synthetic scans and their cache."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy import toy_case

from ssltut.data.cohort import fingerprint
from ssltut.data.split import PARTS
from ssltut.errors import ConfigError
from ssltut.synthetic.cohorts import cached_case, synthetic_cohort
from ssltut.synthetic.pelvis import pelvis_cohort


def test_synthetic_scans_are_made_once(monkeypatch, tmp_path):
    made = []

    def make_case(seed, *, size, pathology_rate, case_id):
        made.append((case_id, seed))
        meta = {"difficulty": 0.5, "pathology": ["cyst"]}
        return replace(toy_case(seed % 1000, size=16), id=case_id, patient=case_id, meta=meta)

    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    monkeypatch.setattr("ssltut.synthetic.hip.make_case", make_case)
    sizes = {"labelled": 2, "validation": 1, "test": 2}
    cohort = synthetic_cohort(8, size=16, **sizes)
    assert (
        cohort.hash
        == synthetic_cohort(8, size=16, **sizes).hash
        != synthetic_cohort(8, size=16, seed=1, **sizes).hash
    )
    assert not made
    first, again = cohort.case("hip003"), synthetic_cohort(8, size=16, **sizes).case("hip003")
    assert len(made) == 1
    assert fingerprint(first) == fingerprint(again)
    assert again.meta == {"difficulty": 0.5, "pathology": ["cyst"]}
    assert again.patient == "hip003"
    assert [p.name for p in tmp_path.rglob("*.npz")] == ["hip003.npz"]
    assert [len(getattr(cohort.split, part)) for part in PARTS] == [2, 3, 1, 2]
    synthetic_cohort(9, size=16, **sizes).case("hip003")
    assert len(made) == 1
    assert len({cohort.sources[i].fingerprint for i in cohort.sources}) == 8
    for wrong in ({"labelled": 6}, {"labelled": 0}):
        with pytest.raises(ConfigError, match="8 scans cannot give"):
            synthetic_cohort(8, **sizes | wrong)


@pytest.mark.parametrize("content", [b"", b"noise" * 99, None])
def test_a_damaged_scan_in_the_cache_is_made_again(tmp_path, content):
    file, made = tmp_path / "hip000.npz", []

    def make():
        made.append(1)
        return replace(toy_case(0), id="hip000", patient="hip000")

    first = cached_case(file, make)
    whole = file.read_bytes()
    file.write_bytes(whole[:-200] if content is None else content)
    assert fingerprint(cached_case(file, make)) == fingerprint(first)
    assert fingerprint(cached_case(file, make)) == fingerprint(first)
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["hip000.npz"]


def test_the_cohort_of_pelves_needs_one_to_train_on(cache: Path):
    assert len(pelvis_cohort(3, spacing=8.0, validation=1).split.labelled) == 2
    with pytest.raises(ConfigError, match="raise n"):
        pelvis_cohort(2, validation=2)
