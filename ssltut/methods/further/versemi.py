"""One prompted network for partially labelled data sets, VerSemi (TMI 2025)."""

from typing import Literal

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Network, Outs, Plan, Progress, Term, Terms
from ssltut.methods.losses import dice_loss, mean_of, soft_dice_loss, supervised_loss
from ssltut.methods.parts.perturb import box_mask, halves, uniform
from ssltut.nets.heads import Head
from ssltut.options import Fraction, NotNegative, Positive


class VerSemi(Method):
    """Partially labelled scans teach one network; a one-hot prompt names the class to segment.

    One further prompt stands for any class. All terms have weight 1:
      supervised     cross-entropy + Dice of the prompts whose class is labelled in the scan
      any            Dice of the prompt for any class on two labelled patches pasted together
      pasted         first stage: Dice of each prompt on that mix, where its class is labelled
      consistency    second stage, on unlabelled patches with a labelled box: squared Dice of the
                     prompt for any class and the largest of the others; both learn, as released
      labelled part  second stage: Dice of the prompt for any class in that box
    A hidden class enters no term: its label is not read.

    option  published  ours   why
    weight  1          1.0    of the last two; at 0 there are no prompts: labels only, same batch
    stage   0.5        0.5    first 1000 of 2000 epochs
    box     2/3        2/3    side of the box, a share of the patch; second stage: U(0.3, 0.6)
    union   labelled   known  the prompt for any class: "known" counts no background of a scan that
                              lacks a class, which may hide there; "labelled" all of it, which
                              data without a whole scan need
    rate    -          1.0    learning rate relative to the configuration's; published is Adam with
                              1e-3 and betas (0.5, 0.999), in place of which the bench has its own

    Ours too: a scan may have several labelled classes, and terms are means over prompts; the
    network of the configuration under the dynamic head (published: V-Net); no second head and no
    EMA copy, which nothing uses as released.
    """

    name, title, year = "versemi", "VerSemi", 2025
    paper = (
        "VerSemi (Segment Together), IEEE Transactions on Medical Imaging 2025, arXiv:2311.11686"
    )
    fidelity = "adapted"
    ideas = ("consistency", "mixing", "other data")
    loss_weights = ("weight",)
    needs_unlabelled = False
    networks = {"student": Network(heads={"prompts": Head(prompts=True, supervised=True)})}

    weight: NotNegative = 1.0
    stage: Fraction = 0.5
    box: Fraction = 2 / 3
    union: Literal["known", "labelled"] = "known"
    rate: Positive = 1.0

    def plan(self, progress: Progress, default: Plan) -> Plan:
        plan = default.all_labelled if progress.frac < self.stage else default
        return plan._replace(rates={"student": self.rate})

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass: labelled patches, two of them pasted together, unlabelled ones with a box.

        The answers (., C, X, Y, Z) of all prompts to each; ``keep`` (X, Y, Z) is False in the box.
        """
        draws = batch.generator("box")
        first = progress.frac < self.stage
        ratio = self.box if first else float(uniform(draws, (), 0.3, 0.6))
        keep = box_mask(batch.x_l.shape[2:], ratio, draws)
        mix = torch.where(keep, *halves(batch.x_l))
        mix_noise = batch.noise(self.sigma_student, "student", "mix")
        views = {"own": self.view(batch, "labelled"), "mixed": mix_noise(mix)}
        if batch.x_u is not None:
            n = min(len(batch.x_l), len(batch.unlabelled))
            noise = batch.noise(self.sigma_student, "student", "unlabelled")
            views["pasted"] = noise(torch.where(keep, batch.unlabelled[:n], batch.x_l[:n]))
        out = nets["student"](torch.cat(list(views.values())), heads=True)
        answers = out.heads["prompts"].float().split([len(view) for view in views.values()])
        return dict(zip(views, answers, strict=True)) | {"keep": keep}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        classes = range(1, batch.n_classes)
        y, known = visible_labels(batch)
        own = []
        for c in classes:
            rows = known[:, c]
            if rows.any():
                target = (y[rows] == c).long()
                own.append(supervised_loss(binary_logits(outs["own"][rows, c]), target))
        keep, mixed = outs["keep"], outs["mixed"]
        y_mix = torch.where(keep, *halves(y))
        known_mix = torch.where(keep, *halves(everywhere(known)))
        counted = self.counted(y_mix, known_mix)
        union = dice_loss(binary_logits(mixed[:, 0]), (y_mix > 0).long(), counted)
        terms = {"supervised": Term(mean_of(own)), "any": Term(union)}
        if progress.frac < self.stage:
            pasted = []
            for c in classes:
                counted = known_mix[:, c]
                if counted.any():
                    target = (y_mix == c).long()
                    pasted.append(dice_loss(binary_logits(mixed[:, c]), target, counted))
            terms["pasted"] = Term(mean_of(pasted))
        if "pasted" in outs:
            n = len(outs["pasted"])
            terms |= self.unlabelled(outs["pasted"], y[:n], known[:n], keep)
        return terms

    def unlabelled(self, z: Tensor, y: Tensor, known: Tensor, keep: Tensor) -> Terms:
        """The terms of unlabelled patches with a labelled box, whose answers are ``z``."""
        p = z.sigmoid()
        consistency = soft_dice_loss(p[:, :1], p[:, 1:].amax(1, keepdim=True), squared=True)
        counted = self.counted(y, everywhere(known)) & ~keep
        in_box = dice_loss(binary_logits(z[:, 0]), (y > 0).long(), counted)
        return {
            "consistency": Term(consistency, self.weight),
            "labelled part": Term(in_box, self.weight),
        }

    def counted(self, y: Tensor, known: Tensor) -> Tensor:
        """(B, X, Y, Z) where foreground would be known: in labels, and in scans of all classes."""
        if self.union == "labelled":
            return torch.ones_like(y, dtype=torch.bool)
        return (y > 0) | known[:, 1:].all(1)


def visible_labels(batch: Batch) -> tuple[Tensor, Tensor]:
    """The labels (B, X, Y, Z) of the classes that are labelled in their scan, and which (B, C)."""
    known = batch.known_classes()
    return batch.y_l * known.gather(1, batch.y_l.flatten(1)).view_as(batch.y_l), known


def everywhere(known: Tensor) -> Tensor:
    """(B, C) as (B, C, 1, 1, 1)."""
    return known[..., None, None, None]


def binary_logits(log_odds: Tensor) -> Tensor:
    """Log-odds (B, X, Y, Z) as the logits of a network of two classes (B, 2, X, Y, Z)."""
    return torch.stack([torch.zeros_like(log_odds), log_odds], 1)
