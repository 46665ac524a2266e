"""Errors and warnings that say what was found, where, how large it is, and what to do next.

Every message is one line of harmless characters, so a command line can print it as it is.
"""

from ssltut.text import plain


class Finding(Exception):  # noqa: N818 (errors and warnings are findings)
    """What was ``found``, ``where``, and the next step (``fix``), in one line."""

    def __init__(self, found: str, *, where: object = None, fix: str | None = None) -> None:
        self.found, self.where, self.fix = found, where, fix
        parts = [f"{where}: {found}" if where is not None else found]
        if fix:
            parts.append(f"Next: {fix}")
        super().__init__(plain(" ".join(" ".join(parts).split())))

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON holds it."""
        return {"found": self.found, "where": str(self.where), "next": self.fix}


class SsltutError(Finding):
    """Base of all errors a user can cause or mend."""


class DataWarning(Finding, UserWarning):
    """A scan or a label map that can be used, but should be looked at first."""


class DataError(SsltutError):
    """A scan, a label map or a cohort that cannot be used as it is."""


class ConfigError(SsltutError):
    """An option, a name or a combination that does not exist or cannot work."""


class TrainingError(SsltutError):
    """Training cannot go on, for example after a non-finite loss."""


class CheckpointError(SsltutError):
    """A checkpoint that is missing, damaged or made for something else."""
