"""The one training loop."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ssltut.data.cohort import Cohort
from ssltut.files import locked
from ssltut.interrupts import uninterrupted
from ssltut.methods.contract import Method
from ssltut.progress import is_first_process, progress_bar
from ssltut.training.callbacks import Callback, Logged, logger_named
from ssltut.training.config import TrainConfig
from ssltut.training.run import Run, cached_folder, is_finished, load_run, run_identity
from ssltut.training.steps import Training, open_run

Log = Callable[[str], None]


def train(
    method: Method,
    cohort: Cohort,
    config: TrainConfig,
    folder: Path,
    *,
    init: Path | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Any] = (),
    log: Log = print,
    progress: bool = True,
    stop_after: int | None = None,
    wait: bool = False,
) -> Run:
    """Train ``method`` on ``cohort`` and leave the run in ``folder``.

    A finished run is read, an unfinished one continued bit for bit. Ctrl-C and SIGTERM end it after
    the step under way, and the run goes on from there.

    init        folder of a run whose predicting network all roles start from (None: from scratch,
                as published)
    callbacks   called after every step and validation and at the end (training.callbacks)
    loggers     get the history: "tensorboard", "package.module:function", or Fabric's loggers
    log         gets a line at every validation, unless a progress bar shows the same
    progress    draw a bar where somebody watches (ssltut.progress)
    stop_after  stop before this step, as if killed (the run can be continued later)
    wait        until another process that trains this very run is done, then read what it left

    Raises ConfigError when ``folder`` holds another run, another process trains in it or there is
    no such logger, CheckpointError when its files are damaged, TrainingError on a non-finite loss.
    """
    folder = Path(folder)
    if not is_first_process():
        loggers, log = (), lambda line: None
    made = [logger_named(each)(folder) if isinstance(each, str) else each for each in loggers]
    callbacks = [*callbacks, *map(Logged, made)]
    identity = run_identity(method, config, cohort, init)
    # A finished run is read, not made again.
    found = is_finished(folder, identity)
    # A kill after its last step may have left its lock: who takes that removes it.
    if not found or (folder / ".lock").exists():
        with locked(folder, wait=log if wait else None) if is_first_process() else nullcontext():
            found = is_finished(folder, identity)  # by another process, meanwhile
            if not found:
                # Patches, networks and optimiser, as the last checkpoint left them.
                training = open_run(method, cohort, config, folder, init=init, log=log)
                end = config.steps if stop_after is None else min(stop_after, config.steps)
                take_steps(training, end, callbacks, log, progress)
    run = load_run(folder, unfinished=True)
    if found:
        log(f"found the finished run {folder.name} ({method.title})")
    elif training.done == config.steps:
        for callback in callbacks:
            callback.on_end(run)
    return run


def take_steps(
    training: Training, end: int, callbacks: Sequence[Callback], log: Log, progress: bool
) -> None:
    """The steps before ``end`` and their validations; ``callbacks`` and others as in ``train``."""
    title, total = training.method.title, training.config.steps
    bar = progress_bar(range(training.done, end), title, unit="step", show=progress)
    shown: dict[str, str] = {}

    # Now and then, and at the end: scores of the validation scans, and a checkpoint.
    def validate_if_due() -> None:
        if training.validation_is_due:
            scores = training.validate()
            for callback in callbacks:
                callback.on_validation(training.done - 1, scores)
            if bar.disable:
                log(training.status())
            shown.update(Dice=f"{scores['dice']:.3f}", HD95=f"{scores['hd95']:.1f} mm")

    try:
        validate_if_due()  # a run may have been stopped just before
        for step in bar:
            # One step of the optimiser on one batch.
            with uninterrupted():
                batch = training.draw(step)
                terms = training.step(batch)
                for callback in callbacks:
                    callback.on_step(step, training.nets, batch, terms)
            validate_if_due()
            shown["loss"] = f"{training.history[-1]['total']:.3f}"
            bar.set_postfix(shown, refresh=False)
    except KeyboardInterrupt as stop:
        bar.close()
        training.save_last()
        stop.args = (f"{title} stopped after step {training.done} of {total}",)
        raise


def cached_run(
    method: Method, cohort: Cohort, config: TrainConfig, *, init: Path | None = None, **options: Any
) -> Run:
    """``train`` in the cache, where the notebooks share their runs; ``options`` as in ``train``."""
    folder = cached_folder(method, cohort, config, init)
    return train(method, cohort, config, folder, init=init, wait=True, **options)
