"""Contrast of colours on white, as the Web Content Accessibility Guidelines 2.1 define it."""

import numpy as np
from matplotlib.colors import to_rgba


def contrast_on_white(colour: object, alpha: float | None = None) -> float:
    """1 (white) to 21 (black); a transparent colour as it looks on white."""
    *rgb, opacity = to_rgba(colour, alpha)
    shares = np.array(rgb) * opacity + 1 - opacity
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05))
