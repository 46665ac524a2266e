"""The batch of a step."""

from torch import Tensor

from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.patches import PatchPool
from ssltut.methods.contract import Plan
from ssltut.seeding import derive_seed, generator_for
from ssltut.training.config import TrainConfig


def draw_batch(
    labelled: PatchPool,
    unlabelled: PatchPool | None,
    plan: Plan,
    config: TrainConfig,
    n_classes: int,
    step: int,
) -> Batch:
    """The batch of one step; each kind of patch has a random stream of its own."""
    generator = generator_for(labelled.device, config.seed, "batch", "labelled", step)
    x_l, y_l, ids_l, locations_l = labelled.sample(plan.labelled, generator, plan.bins)
    assert y_l is not None, "labelled scans have labels"
    x_u: Tensor | None = None
    ids_u: tuple[str, ...] = ()
    locations_u: tuple[PatchLocation, ...] = ()
    if unlabelled is not None and plan.unlabelled:
        generator = generator_for(labelled.device, config.seed, "batch", "unlabelled", step)
        x_u, _, ids_u, locations_u = unlabelled.sample(plan.unlabelled, generator, plan.bins)
    seed = derive_seed(config.seed, "views", step)
    known = labelled.known(ids_l, n_classes)
    return Batch(x_l, y_l, x_u, ids_l, ids_u, n_classes, seed, locations_l, locations_u, known)
