"""The gallery of further methods: a page each, and which ideas they share."""

from ssltut.data.cohort import Cohort
from ssltut.gallery.pages import Gallery, ideas, short
from ssltut.gallery.pictures import PICTURES
from ssltut.training.config import TrainConfig

__all__ = ["Gallery", "ideas", "open_gallery", "short"]


def open_gallery(cohort: Cohort, config: TrainConfig) -> Gallery:
    """The gallery of a cohort; trains mean teacher, which every page is compared with."""
    return Gallery(cohort, config, PICTURES)
