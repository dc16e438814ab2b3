"""skydb bench: skydb and its peers side by side."""

from __future__ import annotations

import click

from ..output import emit, json_option, text_of, text_table, workers_option


@click.command(epilog="Example: skydb bench bench --preset medium --only 'cone*' --only scan")
@click.argument("folder", metavar="[DIR]", type=click.Path(), default="bench")
@click.option("--preset", metavar="NAME", default="small", show_default=True, help="Of the survey: see skydb simulate.")
@click.option("--detections", type=click.IntRange(min=1), metavar="N", help="How many; by default those of the preset.")
@click.option("--only", multiple=True, metavar="NAME", help="A case or group, with wildcards; may be given again.")
@click.option("--repeat", type=click.IntRange(min=1), default=7, show_default=True, metavar="N",
              help="Rounds of short cases.")  # fmt: skip
@workers_option
@json_option
def command(
    folder: str, preset: str, detections: int | None, only: tuple[str, ...], repeat: int, workers: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Time skydb and its peers at the same jobs, on a simulated survey in the folder DIR (bench).

    The survey, its database and the peers' copies are made at the first run and kept. In every round each system has
    one turn, and all must give the same answer; a time is the median of the rounds, a ratio (skydb over peer) that of
    the ratios within a round. Peers do a part of the job: they are given the object of every measurement. All of it
    is kept in DIR/bench.json.
    """
    from ..bench import bench
    from ..bench.run import line_of, text_row

    report = bench(
        folder, preset=preset, detections=detections, only=only, repeat=repeat, workers=workers,
        say=lambda text: click.echo(text, err=True),
        on_figure=lambda figure: click.echo(line_of(figure), err=True),
    )  # fmt: skip
    if as_json:
        emit(report.as_dict(), as_json=True)
        return
    click.echo("\n".join([text_of(dict(report.machine)), "", text_table([text_row(f) for f in report.figures])]))
