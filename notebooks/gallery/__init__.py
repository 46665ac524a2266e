"""The gallery of further methods in notebook 07, a page each."""

from gallery.pages import Gallery, short
from gallery.pictures import PICTURES
from ssltut.data.cohort import Cohort
from ssltut.training.config import TrainConfig

__all__ = ["Gallery", "open_gallery", "short"]


def open_gallery(cohort: Cohort, config: TrainConfig) -> Gallery:
    """The gallery of a cohort; trains mean teacher, which every page is compared with."""
    return Gallery(cohort, config, PICTURES)
