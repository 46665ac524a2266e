"""Rows of a comparison made by hand."""

import pandas as pd


def table(values, *, metric="dice", budget=4, status="ok"):
    """Rows from {method: {(patient, seed, class): value}}."""
    return pd.DataFrame(
        [
            {
                "method": m,
                "budget": budget,
                "seed": s,
                "case": p,
                "patient": p,
                "class": c,
                "metric": metric,
                "value": v,
                "status": status,
            }
            for m, cells in values.items()
            for (p, s, c), v in cells.items()
        ]
    )


def by_patient(method_values, **options):
    return table(
        {
            m: {(f"p{i}", 0, "bone"): v for i, v in enumerate(values)}
            for m, values in method_values.items()
        },
        **options,
    )


def with_difficulty(values, **options):
    rows = by_patient(values, **options)
    return rows.assign(
        difficulty=rows["case"].map(
            {f"p{i}": float(d) for i, d in enumerate((5, 0, 3, 2, 4, 1, 6, 7))}
        )
    )
