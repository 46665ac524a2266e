"""The gallery: every picture comes from the method's own functions and changes nothing; terms are
found in the source; costs are counted.
"""

from dataclasses import replace

import gallery
import pytest
import torch
from gallery import pages
from gallery.pictures import PICTURES
from toy import SMALL, make_batch, toy_case, toy_cohort

from ssltut.data.cohort import Cohort, Split
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.methods.contract import IDEAS
from ssltut.methods.registry import METHODS, make_method
from ssltut.nets.base import Out
from ssltut.training.config import PROFILES
from ssltut.training.networks import build_nets

NAMES = list(pages.TERMS)


@pytest.fixture(scope="module")
def book(cache) -> gallery.Gallery:
    return gallery.open_gallery(toy_cohort(), gallery.short(SMALL))


class Ball(torch.nn.Module):
    """A network that is sure of a ball of the last class in the middle of every patch."""

    def forward(self, x: torch.Tensor) -> Out:
        at = torch.stack(
            torch.meshgrid(*(torch.arange(s) - (s - 1) / 2 for s in x.shape[2:]), indexing="ij")
        )
        inside = (at.square().sum(0).sqrt() < 5.2).float().expand(len(x), -1, -1, -1)
        logits = torch.stack([20 * (1 - inside), torch.zeros_like(inside), 20 * inside], 1)
        return Out(logits, {"embedding": logits, "bottleneck": logits}, {})


def test_a_short_run_has_half_of_the_steps_smaller_patches_and_one_validation():
    found = gallery.short(SMALL, 3)
    assert (found.steps, found.validate_every, found.seed, found.patch) == (2, 2, 3, (6, 6, 6))
    assert gallery.short(replace(SMALL, steps=40_000)).steps == 2000
    assert [gallery.short(PROFILES[name].train).patch for name in ("smoke", "class", "full")] == [
        (s, s, s) for s in (12, 24, 72)
    ]
    assert gallery.short(replace(SMALL, arch="unet2d", patch=(16, 16, 1), depth=3)).patch == (
        12,
        12,
        1,
    )


def test_all_pages_have_a_picture_and_a_term():
    assert set(NAMES) == set(PICTURES)
    assert len(NAMES) == 11
    assert set(NAMES) < set(METHODS)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_picture_term_and_result_and_looking_changes_nothing(name, book, capsys):
    page = book.page(name)
    before = {
        role: {k: v.clone() for k, v in net.state_dict().items()}
        for role, net in page.run.nets.items()
    }
    torch.manual_seed(7)
    state = torch.get_rng_state()
    drawn, again = page.picture(), page.picture()
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn.png == again.png
    assert all(
        torch.equal(v, page.run.nets[role].state_dict()[k])
        for role, found in before.items()
        for k, v in found.items()
    )
    said = capsys.readouterr().out
    assert METHODS[name].paper in said
    assert METHODS[name].title in said
    assert "nan" not in said
    assert any(digit in drawn.alt for digit in "0123456789")
    assert len(drawn.alt.split()) > 20
    table = page.result()
    assert list(table.index) == ["mean teacher", METHODS[name].title]
    assert table["Dice against mean teacher"].iloc[0] == 0
    assert 3 <= len(repr(page.term()).splitlines()) <= 30
    assert page.term()._repr_markdown_().startswith("```python")


def test_a_method_without_a_page_is_refused(book):
    with pytest.raises(ConfigError, match="no page of 'cps'"):
        book.page("cps")


def test_scans_that_are_too_small_are_refused():
    cases = [toy_case(i) for i in range(6)]
    small = [replace(case, image=case.image[:7], label=case.label[:7]) for case in cases]
    ids = [case.id for case in cases]
    split = Split(tuple(ids[:2]), tuple(ids[2:4]), (ids[4],), (ids[5],))
    with pytest.raises(ConfigError, match="a side of fewer than 8 voxels"):
        gallery.open_gallery(
            Cohort.from_cases(small, split, HIP, "small", "CT"), gallery.short(SMALL)
        )


def test_the_scan_is_cut_in_the_middle(book):
    case = pages.middle(toy_case(0), [8, 16, 8])
    assert case.image.shape == case.label.shape == (8, 16, 8)
    assert (case.image == toy_case(0).image[4:12, :, 4:12]).all()
    assert (book.scan()["overlay"] == book.scans[2].label).all()


def test_a_sure_ball_is_fitted_in_its_slices_and_leaves_nothing_to_displace(
    book, monkeypatch, capsys
):
    ersr, cad = book.page("ersr"), book.page("cad")
    monkeypatch.setitem(ersr.run.nets, "teacher", Ball())
    monkeypatch.setitem(cad.run.nets, "teacher", Ball())
    ersr.picture()
    cad.picture()
    said = capsys.readouterr().out
    fitted = int(said.split("a shape fits in ")[1].split()[0])
    assert "sees its target in 10 slices" in said
    assert 4 <= fitted <= 10
    assert "repair moves" in said
    assert "the largest region has 0 voxels; a box of 0 covers 0%" in said
    assert "In the box" not in said


def test_the_attack_has_the_length_the_loss_uses():
    method, batch = make_method("ss_net"), make_batch()
    nets = build_nets(method, SMALL, 3)
    p = nets["student"].eval()(torch.cat([batch.x_l, batch.x_u])).logits.softmax(1).detach()
    _, worst = method.attack(batch, nets, p)
    assert worst.flatten(1).norm(dim=1) == pytest.approx([0.01 * 512**0.5] * 4, rel=1e-4)


def test_ideas_are_among_those_that_are_defined_and_only_the_bounds_have_none():
    assert {idea for m in METHODS.values() for idea in m.ideas} == set(IDEAS)
    assert [name for name, m in METHODS.items() if not m.ideas] == [
        "labels_only",
        "same_batch",
        "all_labels",
    ]
    assert len(set(METHODS["cad"].ideas)) == 4
    assert "consistency" in METHODS["mean_teacher"].ideas
