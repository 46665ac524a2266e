"""What the tests of pictures and live views share."""

from types import SimpleNamespace

import numpy as np
import pytest

SPACING = (1.0, 1.5, 3.0)


@pytest.fixture
def ball() -> SimpleNamespace:
    """A ball of 12 mm around (15, 21, 30) mm on an anisotropic grid, class 2 in its lower half."""
    shape = (30, 28, 20)
    mm = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip(shape, SPACING, strict=False)], indexing="ij"
        ),
        -1,
    )
    radius = np.linalg.norm(mm - (15, 21, 30), axis=-1)
    label = (radius < 12).astype(np.uint8) + ((radius < 12) & (mm[..., 2] < 30))
    return SimpleNamespace(
        image=label * 300.0 - 50,
        label=label.astype(np.uint8),
        heat=np.exp(-((radius - 12) ** 2) / 9),
        spacing=SPACING,
    )


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")
