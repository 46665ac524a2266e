"""Schedules: functions of the fraction of training done, alike for runs of any length."""

import math


def ramp(r: float) -> float:
    """exp(-5 (1 - clip(r, 0, 1))²): 0.0067 at 0, 1 from 1 on (Laine & Aila, arXiv 1610.02242)."""
    return math.exp(-5.0 * (1.0 - min(max(r, 0.0), 1.0)) ** 2)
