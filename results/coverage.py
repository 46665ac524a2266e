"""How often a 95 % interval holds the truth: ``python results/coverage.py``.

Tables of draws x 40 patients are made with known effects of draws, patients and both together, and
three ways give an interval of the mean: the package's (ssltut.evaluation.draws.mean_interval), the
bootstrap over patients with the draws averaged, and the two-way bootstrap of results/ratio.py. The
table is in docs/statistics.md. Five minutes on one core.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from ratio import ratio_interval
from tables import lines_of

from ssltut.evaluation.draws import bootstrap_interval, mean_interval

PATIENTS = 40
# Standard deviations of the effects of draws, of patients, and of both together.
EFFECTS = {
    "draws, patients and rest alike": (1.0, 1.0, 1.0),
    "no effect of patients": (1.0, 0.0, 1.0),
    "small effect of draws": (0.3, 1.0, 3.0),
    "no effect of draws": (0.0, 1.0, 1.0),
}
NOISE: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, *shape: rng.standard_normal(shape),
    "skewed": lambda rng, *shape: rng.exponential(1.0, shape) - 1.0,
}
WAYS: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "draws and patients, the model": lambda table: mean_interval(table)[1:],
    "patients alone, bootstrap": lambda table: bootstrap_interval(table.mean(axis=0)),
    "draws and patients, bootstrap": lambda table: ratio_interval(table, np.ones_like(table)),
}


def tables(n: int, draws: int, kind: str, effects: tuple[float, ...]) -> Iterator[np.ndarray]:
    """``n`` tables (draws, patients) whose true mean is 0."""
    rng, noise = np.random.default_rng(0), NOISE[kind]
    of_draws, of_patients, rest = effects
    for _ in range(n):
        parts = of_draws * noise(rng, draws, 1), of_patients * noise(rng, 1, PATIENTS)
        yield sum(parts) + rest * noise(rng, draws, PATIENTS)


def coverage(n: int, draws: int, kind: str, effects: tuple[float, ...]) -> list[float]:
    """The share of tables whose interval holds 0, for each of WAYS."""
    held = []
    for table in tables(n, draws, kind, effects):
        ends = [way(table) for way in WAYS.values()]
        held.append([low <= 0 <= high for low, high in ends])
    return np.mean(held, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=600)
    parser.add_argument("--draws", type=int, nargs="+", default=[3, 5, 10])
    args = parser.parse_args()
    lines = []
    for draws in args.draws:
        for kind in NOISE:
            for name, effects in EFFECTS.items():
                shares = coverage(args.tables, draws, kind, effects)
                lines.append([str(draws), kind, name, *(f"{share:.2f}" for share in shares)])
    print(lines_of(["draws", "effects", "", *WAYS], lines))


if __name__ == "__main__":
    main()
