"""Correspondences: the labelled voxels whose embeddings are most similar to those of a scan."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ssltut.methods.matching import primitives
from ssltut.seeding import generator_for


class Correspondences(NamedTuple):
    """For N query voxels of one scan, their nearest reference voxels in another."""

    query: np.ndarray  # (N, 3) voxel indices
    reference: np.ndarray  # (N, k, 3) voxel indices in the labelled scan
    similarity: np.ndarray  # (N, k) cosine, best first
    reference_class: np.ndarray  # (N, k)
    vote: np.ndarray  # (N, C) share of the k neighbours


def correspond(
    embedding: Tensor,
    query: np.ndarray,
    labelled_embedding: Tensor,
    label: np.ndarray,
    *,
    k: int = 9,
    band: int = 2,
    references: int = 600,
    n_classes: int,
    seed: int = 0,
) -> Correspondences:
    """Match voxels ``query`` (N, 3) of one scan to surface voxels of a labelled scan.

    By cosine similarity of embeddings (D, X, Y, Z); ``references`` voxels a class are drawn from
    the surface band of ``label`` (X, Y, Z).
    """
    y = torch.as_tensor(label.astype(np.int64))[None]
    shell, rng = primitives.surface_shell(y, band), generator_for("cpu", seed, "correspond")
    drawn = primitives.draw_references(y, shell, n_classes, k=references, redraws=1, generator=rng)
    flat = drawn.voxels[drawn.present].flatten()
    classes = y.flatten()[flat]
    bank = primitives.voxel_vectors(labelled_embedding[None])[flat]
    vectors = embedding[:, query[:, 0], query[:, 1], query[:, 2]].T.contiguous()
    similarity, index = primitives.nearest(vectors, bank, k)
    place = np.stack(np.unravel_index(flat[index].numpy(), label.shape), axis=-1)
    vote = one_hot(classes[index], n_classes).float().mean(1)
    return Correspondences(query, place, similarity.numpy(), classes[index].numpy(), vote.numpy())
