"""The probe of results/matching.py: counts by hand, and a training that does not notice it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from probe import Probe, accuracy_on_unreliable, probed_run
from torch import nn
from toy import SMALL, toy_cohort

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Progress
from ssltut.methods.matching.embedding_matching import Assignment, EmbeddingMatching
from ssltut.methods.matching.vote import NeighbourVote
from ssltut.methods.registry import make_method
from ssltut.nets.base import Out
from ssltut.training.callbacks import Callback
from ssltut.training.loop import train


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return Out(self.logits, {"embedding": torch.zeros(1, 2, 2, 2, 1)}, {})


def line(values, kind=torch.int64):
    return torch.tensor(values, dtype=kind).view(1, 2, 2, 1)


def test_accuracy_on_unreliable_voxels_by_hand(monkeypatch):
    truth, student = line([0, 1, 1, 0]), line([0, 1, 0, 0])
    found = Assignment(
        torch.zeros(1, 2, 2, 1),
        line([1, 1, 1, 0], torch.bool),
        line([0, 0, 0, 0]),
        line([1, 1, 1, 0]),
        line([0, 1, 1, 0], torch.bool),
        None,
    )
    monkeypatch.setattr(EmbeddingMatching, "teach", lambda *args: {})
    monkeypatch.setattr(EmbeddingMatching, "assign", lambda *args: found)
    method = EmbeddingMatching(sigma_student=0.0)
    batch = Batch(torch.zeros(1), truth, torch.zeros(1, 1, 2, 2, 1), (), (), 2, 0)
    nets = {"student": Fixed(nn.functional.one_hot(student, 2).movedim(-1, 1).float())}
    values = accuracy_on_unreliable(method, nets, batch, truth, Progress(0, 1))
    assert values == pytest.approx(
        {
            "unreliable share": 0.75,
            "trusted share": 0.5,
            "teacher right": 1 / 3,
            "match right": 2 / 3,
            "student right": 2 / 3,
            "match right where trusted": 1.0,
            "teacher right where reliable": 1.0,
            "match agrees with student": 1 / 3,
            "pull of a voxel": 2.0,
        }
    )
    monkeypatch.setattr(NeighbourVote, "teach", lambda *args: {})
    monkeypatch.setattr(NeighbourVote, "assign", lambda *args: found)
    vote = NeighbourVote(sigma_student=0.0)
    pull = accuracy_on_unreliable(vote, nets, batch, truth, Progress(0, 1))["pull of a voxel"]
    assert pull == 1.0
    none = found._replace(unreliable=line([0] * 4, torch.bool), trusted=line([0] * 4, torch.bool))
    monkeypatch.setattr(EmbeddingMatching, "assign", lambda *args: none)
    values = accuracy_on_unreliable(method, nets, batch, truth, Progress(0, 1))
    assert np.isnan(values["match right"])
    assert values["pull of a voxel"] == 0.0
    assert values["teacher right where reliable"] == 0.5


@pytest.mark.parametrize(
    ("name", "options", "norm"),
    [
        ("embedding_matching", {}, "instance"),
        ("neighbour_vote", {"memory": 8}, "batch"),
        ("vote_beside", {"start": 0.1, "scans": 0.0}, "instance"),
    ],
)
def test_probing_does_not_disturb_training(name, options, norm, tmp_path):
    method, config = make_method(name, options), replace(SMALL, norm=norm)
    probe = Probe(method, toy_cohort(), config, every=1, file=tmp_path / "probe.csv")
    runs = [
        train(
            method, toy_cohort(), config, tmp_path / str(i), callbacks=callbacks, log=lambda s: None
        )
        for i, callbacks in enumerate(([], [probe]))
    ]
    for role in runs[0].nets:
        a, b = (run.nets[role].state_dict() for run in runs)
        assert all(torch.equal(a[k], b[k]) for k in a), role
    frame = probe.frame()
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["match weight"].is_monotonic_increasing
    assert frame["match weight"].iloc[1:].gt(0).all()  # a vote beside a host starts later
    assert frame["unreliable share"].between(0, 1).all()
    assert frame["teacher right where reliable"].dropna().between(0, 1).all()


def test_a_probed_run_that_is_found_has_its_table_too():
    method = make_method("embedding_matching")
    (first, table), (again, same) = (
        probed_run(method, toy_cohort(), SMALL, every=1, log=lambda s: None) for _ in range(2)
    )
    assert table["step"].tolist() == [0, 1, 2, 3]
    assert table.equals(same)
    assert first.folder == again.folder


def test_a_probed_run_takes_further_callbacks():
    class Noting(Callback):
        def __init__(self):
            self.steps, self.scored = [], []

        def on_step(self, step, nets, batch, terms):
            self.steps.append((step, "match" in terms))

        def on_validation(self, step, scores):
            self.scored.append((step, *scores))

    noting, config = Noting(), replace(SMALL, seed=31)
    probed_run(
        make_method("embedding_matching"),
        toy_cohort(),
        config,
        every=2,
        callbacks=[noting],
        log=lambda s: None,
    )
    assert noting.steps == [(step, True) for step in range(4)]
    assert noting.scored[-1] == (
        3,
        "dice",
        "hd95",
    )


def test_where_no_truth_is_kept_validation_scans_are_probed(tmp_path):
    cohort = toy_cohort()
    for case_id in cohort.split.unlabelled:
        cohort.sources[case_id] = cohort.sources[case_id]._replace(has_label=False)
    method = make_method("embedding_matching")
    probe = Probe(method, cohort, SMALL, every=1, file=tmp_path / "p.csv")
    assert probe.truth.shape == (4, 8, 8, 8)
    assert probe.frame().empty


def test_only_matching_can_be_probed(tmp_path):
    with pytest.raises(ConfigError, match="UA-MT matches no embeddings"):
        Probe(make_method("ua_mt"), toy_cohort(), SMALL, every=1, file=tmp_path / "p.csv")
