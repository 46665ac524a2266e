"""The studies of the record: what draws share, and that an arm goes on where it was."""

from dataclasses import replace
from functools import partial
from itertools import combinations

import pytest
import studies
import torch
from studies import STUDIES, Arm, Study, hips
from toy import SMALL

from ssltut.cli.main import main
from ssltut.errors import ConfigError
from ssltut.evaluation.record import read_rows, recorded
from ssltut.methods.registry import METHODS


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parts(cohort):
    return cohort.split.labelled, cohort.split.unlabelled, cohort.split.validation


@pytest.mark.parametrize("name", ["settings", "bone", "bones", "declared_bones"])
def test_draws_share_the_test_scans_alone(name):
    study = STUDIES[name]
    drawn = [study.cohort(draw, None) for draw in range(study.draws)]
    assert len({cohort.split.test for cohort in drawn}) == 1
    for one, other in combinations(drawn, 2):
        assert not set(sum(parts(one), ())) & set(sum(parts(other), ()))
    assert [len(part) for part in parts(drawn[0])] == [4, 14, 2]


def test_settings_are_tried_on_other_hips():
    used = {study: STUDIES[study].cohort(0, None).name for study in ("settings", "bone", "bones")}
    assert used["settings"] != used["bone"] == used["bones"]


def test_both_tasks_have_the_same_draws():
    assert STUDIES["bone"].cohort(1, None).table.n_classes == 2
    assert STUDIES["bone"].cohort(1, None).split == STUDIES["bones"].cohort(1, None).split


@pytest.mark.parametrize("task", ["bone", "bones"])
def test_more_labels_hold_the_fewer(task):
    drawn = {
        labelled: STUDIES[name].cohort(3, None).split
        for labelled, name in ((2, f"{task}_2"), (4, task), (8, f"{task}_8"))
    }
    for labelled, split in drawn.items():
        assert split.labelled == drawn[8].labelled[:labelled]
        assert split.test == drawn[4].test
        assert split.validation == drawn[4].validation
        assert {*split.labelled, *split.unlabelled} == {*drawn[4].labelled, *drawn[4].unlabelled}


def test_the_declared_test_is_on_hips_of_its_own():
    declared = STUDIES["declared_bones"]
    cohort = declared.cohort(0, None)
    assert cohort.name not in {STUDIES[name].cohort(0, None).name for name in ("bone", "settings")}
    assert (declared.draws, len(cohort.split.test)) == (10, 100)
    assert STUDIES["declared_bone"].cohort(0, None).split == cohort.split


def test_every_method_is_in_a_study():
    arms = STUDIES["bones"].arms | STUDIES["further"].arms
    assert {arm.method for arm in arms.values()} == set(METHODS)


def test_every_pelvis_is_tested_once(shared):
    folds = [STUDIES["pelves"].cohort(fold, shared / "pelvic_mr") for fold in range(5)]
    tested = [scan for fold in folds for scan in fold.split.test]
    assert sorted(tested) == sorted(folds[0].sources)
    assert [len(part) for part in parts(folds[0])] == [4, 6, 2]
    scan = folds[0].case(folds[0].split.test[0])
    assert scan.image.mean() == pytest.approx(0.0, abs=1e-4)
    assert scan.spacing == pytest.approx((3.0, 3.0, 3.0), abs=0.02)


def test_the_first_draw_of_atria_is_the_published_order(shared):
    published = (shared / "left_atrium" / "train.list").read_text().split()
    drawn = [STUDIES["atria_unet_4"].cohort(n, shared / "left_atrium") for n in range(2)]
    assert drawn[0].split.labelled == tuple(published[:4])
    assert drawn[1].split.labelled == tuple(published[4:8])
    assert drawn[0].split.test == drawn[1].split.test == tuple(published[-16:])


@pytest.mark.parametrize("name", ["pelves", "atria_unet_4"])
def test_real_scans_need_their_folder(name):
    with pytest.raises(ConfigError, match="--data"):
        STUDIES[name].cohort(0, None)


def test_an_arm_is_trained_once_and_written(tmp_path, capsys):
    from record import write_record

    toy = Study(
        cohort=partial(hips, seed=0, test=1, draws=2, bone=True, size=16),
        draws=2,
        arms={"low": Arm("labels_only"), "wide": Arm("labels_only", config={"width": 6})},
        config=replace(SMALL, steps=2),
    )
    for _ in range(2):
        for arm in toy.arms:
            toy.run(tmp_path, 1, arm)
    rows = toy.rows(tmp_path)
    assert set(rows["method"]) == {"low", "wide"}
    assert set(rows["seed"]) == {1}
    assert rows["config"].nunique() == len(list(tmp_path.glob("*/rows/*.csv"))) == 2
    written = write_record(rows, "toy", list(toy.arms), tmp_path)
    assert len(recorded("toy", tmp_path)) == len(written) == len(rows)


def test_the_command_line_makes_a_row_again_bit_for_bit(tmp_path, monkeypatch, one_thread):
    """A draw written as a cohort folder, and ``ssltut compare`` with the settings of the study."""
    toy = Study(
        cohort=partial(hips, seed=600, test=1, draws=1, bone=True, size=16),
        draws=1,
        arms={name: Arm(name) for name in ("same_batch", "embedding_matching")},
        config=replace(studies.SMALL, steps=4, patch=(16, 16, 16), validate_every=2),
    )
    monkeypatch.setitem(STUDIES, "toy", toy)
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["studies.py", "toy", "--cohort", str(cohort)])
    studies.main()
    for arm in toy.arms:
        toy.run(tmp_path, 0, arm)
    settings = "--steps 4 --lr 5e-3 --patch 16 --width 4 --precision 32-true --workers 0"
    which = "--methods same_batch embedding_matching --budgets 4 --seeds 0 --published-split"
    assert main(["compare", str(cohort), *which.split(), *settings.split(), "--out", str(out)]) == 0
    made = toy.rows(tmp_path), read_rows(out / "results.csv")
    key = ["method", "case", "class", "metric"]
    ours, again = (rows.set_index(key)["value"] for rows in made)
    assert len(ours) == len(again) > 0
    assert ours.equals(again.reindex(ours.index))
