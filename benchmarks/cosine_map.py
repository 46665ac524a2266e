"""The mean-cosine map of a patch, against one convolution of 1 x 1 x 1 over the same embeddings."""

import torch
from turns import Row, in_turns

from ssltut.methods.matching.primitives import similarity, voxel_vectors


def rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(2, 16, 32, 32, 32, generator=generator)
    references = torch.randn(3, 2, 40, 16, generator=generator)
    weight = torch.randn(3, 16, 1, 1, 1, generator=generator)
    query = voxel_vectors(embedding)

    def convolution() -> torch.Tensor:
        return torch.nn.functional.conv3d(embedding, weight)

    contestants = {
        "ours": lambda: similarity(references, query),
        "a convolution": convolution,
        "one product a reference": lambda: similarity(references, query, "max_cosine"),
    }
    what = "mean-cosine map, 65,536 voxels, 16 channels"
    return [Row(what, "2 convolutions", in_turns(contestants, 15))]
