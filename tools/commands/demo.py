"""skydb demo: a small survey from simulation to release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import emit, json_option, steps

if TYPE_CHECKING:
    from ..demo import Step


@click.command(epilog="Example: skydb demo try --seed 12")
@click.argument("folder", metavar="[DIR]", type=click.Path(), default="demo")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the simulated survey.")
@click.option("--detections", type=click.IntRange(min=1), metavar="N", help="How many; by default 100000.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in DIR.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Worker processes; for so little, starting more takes longer than it saves.")  # fmt: skip
@json_option
def command(
    folder: str, seed: int, detections: int | None, overwrite: bool, workers: int, as_json: bool
) -> None:
    """Simulate a small survey in the new folder DIR (demo), ingest, calibrate, ask and release it.

    Every step is shown with the command line that does the same, what came of it, and its seconds. At the end, zero
    points and objects are compared with the truth, and two plots are drawn. It takes less than two minutes.
    """
    from ..demo import run_demo

    report = run_demo(
        folder, seed=seed, detections=detections, workers=workers, overwrite=overwrite, watch=steps,
        on_step=None if as_json else say,
    )  # fmt: skip
    emit(report if as_json else f"\ndone in {report.seconds:.1f} s; all of it is in {report.folder}", as_json=as_json)


def say(step: Step) -> None:
    """Print what one step did."""
    commands = [f"$ {line}" for line in step.command.splitlines()]
    click.echo("\n" + "\n".join([f"{step.name}: {step.seconds:.1f} s", *commands, *_indented(step.text)]))


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
