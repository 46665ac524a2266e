"""The tables and figures of docs/results.md: ``python results/report.py``.

Between ``<!-- study: NAME -->`` and ``<!-- end -->`` that page has the table of a study; this
script writes it again from results/NAME.csv, so that no number there is typed by hand. The
figures go to results/figures/.
"""

import re
from collections.abc import Sequence

import pandas as pd
from real_hips import summary
from studies import STUDIES
from tables import fidelities, lines_of
from tables import study as table_of

from ssltut import show
from ssltut.evaluation.record import RECORDS, read_rows
from ssltut.evaluation.statistics import LOWER_BOUND, UPPER_BOUND, paired, title_of
from ssltut.files import write_atomically

PAGE = RECORDS.parent / "docs" / "results.md"
FIGURES = RECORDS / "figures"
BLOCK = re.compile(r"(<!-- study: (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)
NOTHING_YET = "*No run of this study is finished yet.*"
FORESTS = {
    "bone": "Bone against rest",
    "bones": "Hip bone and femur",
    "pelves": "Real pelves, hip bone and femur",
    "atria_unet_4": "Left atrium, U-Net, 4 labelled",
}


def rows_of(study: str) -> pd.DataFrame | None:
    """The results of a study, or None before its first run."""
    file = RECORDS / f"{study}.csv"
    return read_rows(file) if file.is_file() else None


def block(study: str, metric: str) -> str:
    """The table of a study for the page."""
    if study == "real_hips":
        return asked_on_real_hips()
    rows = rows_of(study)
    if rows is None:
        return NOTHING_YET
    words = fidelities(STUDIES[study].arms)
    table = table_of(rows, words, metric)
    draws, scans = rows["seed"].nunique(), rows["case"].nunique()
    made = f"`results/{study}.csv`: {draws} draws, {scans} test scans"
    return f"{table}\n\n({made}; `python results/studies.py {study}`.)"


def asked_on_real_hips() -> str:
    """Who is right in uncertain regions of real pelves, for the page."""
    found = pd.read_csv(RECORDS / "real_hips.csv", keep_default_na=False)
    shares = ["right", "says bone", "right on bone", "right on the rest"]
    head = ["rule", "references", *shares, "scans where it beats the teacher"]
    lines = []
    for (rule, references), row in summary(found).iterrows():
        means = [f"{row[name]:.2f}" for name in shares]
        lines.append([rule, references, *means, f"{row['better']:.0f} of {row['scans']:.0f}"])
    folds, truth = found["fold"].nunique(), found["bone"].mean()
    made = f"`results/real_hips.csv`, folds: {folds}; in truth {truth:.2f} of the voxels are bone"
    return f"{lines_of(head, lines)}\n\n({made}; `python results/real_hips.py --data FOLDER`.)"


def page(text: str) -> str:
    """The page with every table made again."""
    return BLOCK.sub(
        lambda found: found[1] + block(found[2], found[3] or "dice") + "\n" + found[4], text
    )


def forest(
    study: str, heading: str, metrics: Sequence[str] = ("dice", "assd")
) -> show.Picture | None:
    """``metrics`` of every arm minus those of the control, with intervals."""
    rows, parts = rows_of(study), []
    if rows is None:
        return None
    for metric in metrics:
        against = paired(rows, metric)
        against = against.rename(columns={"low95": "low", "high95": "high"})
        parts.append(against.assign(mean=against["difference"], method=against["title"]))
    titles = {
        "dice": f"{heading}: Dice minus control\n(right of 0 is better)",
        "assd": "ASSD minus control, mm\n(left of 0 is better)",
    }
    return show.intervals(
        pd.concat(parts),
        bounds=(title_of(LOWER_BOUND), title_of(UPPER_BOUND)),
        titles=titles,
        alt=f"{heading}: difference of every method to labels only in the same batch, in Dice and "
        "surface distance, with 95 % intervals over draws and patients",
    )


def pull() -> show.Picture | None:
    """Loss on the labels during training, with and without the match, a mean over draws."""
    file = RECORDS / "bone_curves.csv"
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    steps, losses = {}, {}
    for method, part in table.groupby("method", sort=False):
        wide = part.pivot(index="step", columns="seed", values="supervised")
        name = title_of(method)
        steps[name], losses[name] = wide.index.to_numpy(), wide.mean(axis=1).to_numpy()
    return show.lines(
        steps,
        losses,
        xlabel="step",
        ylabel="loss on the labelled patches",
        title="The match disturbs what the labels teach",
        alt="Loss on the labelled patches during training: that of the control falls to the end, "
        "that of embedding matching rises while its unreliable voxels vanish, and falls again "
        "when there are none",
    )


def main() -> None:
    write_atomically(PAGE, page(PAGE.read_text(encoding="utf-8")))
    pictures = {f"report-{study}": forest(study, name) for study, name in FORESTS.items()}
    pictures["report-pull"] = pull()
    for name, picture in pictures.items():
        if picture is not None:
            (FIGURES / f"{name}.png").write_bytes(picture.png)


if __name__ == "__main__":
    main()
