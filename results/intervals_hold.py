"""How often a 95 % interval holds the truth: ``python results/intervals_hold.py``.

Tables of draws x 40 patients are made with known effects of draws, patients and both together, and
three ways give an interval of the mean: the package's (ssltut.evaluation.draws.mean_interval), the
bootstrap over patients with the draws averaged, and the two-way bootstrap as in results/ratio.py.
The table is in docs/statistics.md. Half a minute on one core.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
from tables import lines_of

from ssltut.evaluation.draws import mean_interval

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


@cache
def times(n: int) -> np.ndarray:
    """How often each of ``n`` is drawn, in each of 1,000 resamples: (1000, n), as a share."""
    return np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), 1000) / n


def middle(means: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high


def of_patients(table: np.ndarray) -> tuple[float, float]:
    return middle(times(PATIENTS) @ table.mean(axis=0))


def of_both(table: np.ndarray) -> tuple[float, float]:
    return middle(((times(len(table)) @ table) * times(PATIENTS)).sum(axis=1))


WAYS: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "draws and patients, the model": lambda table: mean_interval(table)[1:],
    "patients alone, bootstrap": of_patients,
    "draws and patients, bootstrap": of_both,
}


def tables(n: int, draws: int, kind: str, effects: tuple[float, ...]) -> Iterator[np.ndarray]:
    """``n`` tables (draws, patients) whose true mean is 0."""
    rng, noise = np.random.default_rng(0), NOISE[kind]
    for _ in range(n):
        shapes = (draws, 1), (1, PATIENTS), (draws, PATIENTS)
        yield sum(size * noise(rng, *shape) for size, shape in zip(effects, shapes, strict=True))


def coverage(n: int, draws: int, kind: str, effects: tuple[float, ...]) -> list[float]:
    """The share of tables whose interval holds 0, for each of WAYS."""
    held = []
    for table in tables(n, draws, kind, effects):
        ends = [way(table) for way in WAYS.values()]
        held.append([low <= 0 <= high for low, high in ends])
    return np.mean(held, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--draws", type=int, nargs="+", default=[3, 5, 10])
    args = parser.parse_args()
    print(lines_of(["draws", "effects", "", *WAYS], []))
    for draws, kind, (name, effects) in product(args.draws, NOISE, EFFECTS.items()):
        shares = coverage(args.tables, draws, kind, effects)
        words = [str(draws), kind, name, *(f"{share:.2f}" for share in shares)]
        print("| " + " | ".join(words) + " |", flush=True)


if __name__ == "__main__":
    main()
