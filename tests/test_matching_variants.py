"""The options of embedding matching that the paper does not have, each against what it says it does."""

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort

from ssltut.errors import ConfigError
from ssltut.methods import Progress, make_method
from ssltut.schedules import ramp
from ssltut.train import build_nets, train


@pytest.mark.parametrize("rampup, rise", [(1.0, ramp(0.3)), (0.3, 1.0), (0.6, ramp(0.5))])
def test_the_weights_stand_at_their_height_after_the_rampup(rampup, rise):
    method = make_method("embedding_matching", {"rampup": rampup})
    terms = method.losses(make_batch(), build_nets(method, SMALL, 3), Progress(30, 100))
    assert (terms["reliable"].weight, terms["match"].weight) == (pytest.approx(0.25 * rise), pytest.approx(0.125 * rise))


@pytest.mark.parametrize("layer", ["embedding", "half", "bottleneck"])
def test_a_coarser_map_is_matched_at_full_resolution(layer):
    method = make_method("embedding_matching", {"layer": layer})
    nets, batch = build_nets(method, SMALL, 3), make_batch()
    with torch.no_grad():
        out = nets["teacher"](batch.x_u)
        vectors = method.vectors(out)
        wanted = F.interpolate(out.feats[layer], batch.x_u.shape[2:], mode="trilinear") if layer != "embedding" else out.feats[layer]
    assert torch.equal(vectors.view(2, 8, 8, 8, -1)[1, 3, 4, 5], wanted[1, :, 3, 4, 5])
    terms = method.losses(batch, nets, Progress(50, 100))
    terms["entropy"].value.backward()
    assert all(torch.isfinite(term.value) for term in terms.values())


@pytest.mark.parametrize("layer", ["embedding", "half", "bottleneck"])
def test_a_memory_is_as_wide_as_the_map_that_is_matched(layer, tmp_path):
    run = train(make_method("neighbour_vote", {"memory": 8, "layer": layer}), toy_cohort(), SMALL, tmp_path / "r", say=lambda s: None)
    filled, dim = run.nets["memory"].filled, run.nets["memory"].vectors.shape[2]
    assert filled.gt(0).all() and dim == run.method.vectors(run.nets["student"](make_batch().x_u)).shape[1]


@pytest.mark.parametrize("gate", [0.0, 0.85])
def test_a_voxel_without_a_mutual_neighbour_keeps_the_label_of_the_teacher_and_is_not_taught(gate):
    method = make_method("neighbour_vote", {"threshold": 0.5, "mutual": True, "gate": gate, "neighbours": 3})
    nets, batch = build_nets(method, SMALL, 3), make_batch()
    with torch.no_grad():
        found = method.assign(batch, nets, Progress(50, 100), method.vectors(nets["student"](batch.x_u)))
    share = found.scores.max(1).values
    alone = share == 0
    assert 0 < alone.sum() < len(alone)
    assert torch.equal(found.trusted[found.unreliable], (share > 0) & (share > gate))
    assert torch.equal(found.match[found.unreliable][alone], found.teacher[found.unreliable][alone])


@pytest.mark.parametrize("options, words", [
    ({"rampup": 0.0}, "rampup is 0.0"), ({"rampup": 1.5}, "rampup is 1.5"), ({"layer": "first"}, "layer is 'first'"), ({"mutual": True}, "kernel='vote'")])
def test_wrong_values_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make_method("embedding_matching", options)
