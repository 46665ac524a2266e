"""Mutual consistency with three decoders, MC-Net+ (Wu et al. 2022)."""

from itertools import permutations

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.methods.losses import sharpen
from ssltut.nets.heads import Head
from ssltut.options import Fraction, NotNegative, Positive


class MCNetPlus(Consistency):
    """Three decoders with different upsampling; each follows the sharpened others.

    They disagree where it is hard: L_U = Σ_{i≠j} mean (p_i - sharpen(p_j))^2 over all patches, with
    sharpen(p) = p^(1/T) / Σ_c p^(1/T). Supervised is the mean of cross-entropy + Dice over the
    decoders; the first one predicts.

    option       published  ours   why
    weight       1          2/3    half of the *sum* of three Dice beside it is 1.5 times their mean
    rampup       0.4        0.4    40 of 100 ramps of 150 steps
    temperature  0.1        0.1
    detach       False      False  the gradient flows through the sharpened side too; True: not
    """

    name, title, year = "mc_net_plus", "MC-Net+", 2022
    paper = "Wu et al., Medical Image Analysis 2022, arXiv:2109.09960"
    ideas = ("consistency", "pseudo-labels")
    networks = {
        "student": Network(
            heads={
                "trilinear": Head(up="trilinear", supervised=True),
                "nearest": Head(up="nearest", supervised=True),
            }
        )
    }

    weight: NotNegative = 2 / 3
    rampup: Fraction = 0.4
    temperature: Positive = 0.1
    detach: bool = False

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        student = outs["student"].whole
        logits = [student.logits, *student.heads.values()]
        p = [z.float().softmax(1) for z in logits]
        sharp = [sharpen(z.detach() if self.detach else z, self.temperature) for z in logits]
        pairs = permutations(range(len(logits)), 2)
        return Term(sum((p[i] - sharp[j]).square().mean() for i, j in pairs))
