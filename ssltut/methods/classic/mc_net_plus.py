"""Mutual consistency with three decoders, MC-Net+ (Wu et al. 2022)."""

from itertools import permutations

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.methods.parts.sharpen import sharpen
from ssltut.nets.heads import Head


class MCNetPlus(Consistency):
    """Three decoders that double the resolution in different ways disagree where it is hard; each
    follows the others, sharpened.

    L_U = Σ_{i≠j} mean (p_i - sharpen(p_j))^2 over all patches, sharpen(p) = p^(1/T) / Σ_c p^(1/T),
    T = 0.1; weight ramp(t / (0.4 T)). The first decoder predicts. As released, the gradient also
    flows through the sharpened side. Departures: supervised by the mean of cross-entropy + Dice
    over the decoders where the paper has half the sum of Dice; Adam.

    detach  True: the sharpened side is a fixed target
    """

    name, title, year = "mc_net_plus", "MC-Net+", 2022
    paper = "Wu et al., Medical Image Analysis 2022, arXiv:2109.09960"
    ideas = ("consistency", "pseudo-labels")
    networks = {
        "student": Network(
            heads={up: Head(up=up, supervised=True) for up in ("trilinear", "nearest")}
        )
    }

    weight: float = 1.0
    rampup: float = 0.4
    temperature: float = 0.1
    detach: bool = False

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        seen = outs["student"].whole
        logits = [seen.logits, *seen.heads.values()]
        pairs = [
            (z.float().softmax(1), sharpen(z.detach() if self.detach else z, self.temperature))
            for z in logits
        ]
        return Term(
            sum((p - target).square().mean() for (p, _), (_, target) in permutations(pairs, 2))
        )
