"""Mutual mask mix with high-low level feature consistency (2025)."""

from itertools import product

from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.classic.bcp import BCP, Pasted
from ssltut.methods.contract import Nets, Progress, Term
from ssltut.methods.parts.masks import block_masks, halves


class M3HL(BCP):
    """Copy-paste block by block, as a masked autoencoder hides them; the student's features of the
    mixes agree with the teacher's.

    M is False in half of the blocks, drawn for each pair; X1, X2 and their loss are those of BCP,
    without its first stage: each mix has of one kind of patch what the other has not. With f of the
    student for X1, X2 and g of the teacher for u, v as they are:
      low   mean over the four pairs of |f - g|, of the last decoder map      high   the same of 1 -
            cos(f, g), of the flattened deepest map
    No ramp. Departures: as of BCP, where CE + Dice is twice the paper's, so the weight of low and
    high is so too (half there); blocks have at least 16 voxels a side, so that bones keep their
    surroundings (the paper cuts 112 x 112 x 80 into 4 x 4 x 4).

    features  weight of "low" and of "high"; at weight 0 nothing is mixed, and these are off too
    pool      True: the deepest map goes through 3x3x3 max pooling with stride 2 first, as released
              for the V-Net; its U-Net has none
    """

    name, title, year = "m3hl", "M3HL", 2025
    paper = "Liu et al., MICCAI 2025, arXiv:2508.03752"
    ideas = ("consistency", "pseudo-labels", "mixing")

    pretrain: float = 0.0
    features: float = 1.0
    blocks: int = 4
    smallest: int = 16
    pool: bool = False

    def mask(self, batch: Batch, n: int) -> Tensor:
        return block_masks(
            n, batch.x_l.shape[2:], self.blocks, self.smallest, batch.generator("blocks")
        )

    def further(
        self, batch: Batch, nets: Nets, progress: Progress, pasted: Pasted
    ) -> dict[str, Term]:
        if not self.features:
            return {}
        near, deep = self.pairs("embedding", pasted), self.pairs("bottleneck", pasted)
        low = sum((f - g).abs().mean() for f, g in near) / 4
        high = (
            sum(1.0 - F.cosine_similarity(self.whole(f), self.whole(g)).mean() for f, g in deep) / 4
        )
        return {"low": Term(low, self.features), "high": Term(high, self.features)}

    def pairs(self, name: str, pasted: Pasted) -> list[tuple[Tensor, Tensor]]:
        """The student's map called ``name`` of X1 and of X2, each with the teacher's of u and of
        v.
        """
        mixed = pasted.out.feats[name].float().chunk(2)
        return [
            (f, g[: len(f)].float()) for f, g in product(mixed, halves(pasted.teacher.feats[name]))
        ]

    def whole(self, maps: Tensor) -> Tensor:
        return (F.max_pool3d(maps, 3, 2, 1) if self.pool else maps).flatten(1)
