"""The demo's plot of zero points against truth. It needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from skydb.database import Database
from skydb.query.lightcurve_plot import BAND_COLOURS

from .score import score_zero_points
from .score_database import image_zero_points, scored_images, truth_folder

RAW = "0.65"

Array = NDArray[np.float64]
Style = dict[str, Any]


def draw_zero_points(db: Database, survey: Path, ingested: int, path: Path) -> None:
    """Draw solved and header zero points against the true ones.

    Parameters
    ----------
    survey
        The simulated survey's folder.
    ingested
        The snapshot before the calibration, whose zero points are the headers'.
    path
        The PNG file to write.
    """
    truth = truth_folder(survey)
    solved = scored_images(image_zero_points(db.snapshot(), truth))
    header = image_zero_points(db.snapshot(ingested), truth)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    _draw_against_truth(left, solved, header)
    _draw_errors(right, solved, header)
    figure.suptitle(
        "Zero points of a simulated survey, one constant per band and component removed"
        " (flat-field structure of 10 mmag is in it, and not solved)", fontsize=11,
    )  # fmt: skip
    figure.savefig(path, dpi=150)


def _draw_against_truth(axes: Axes, solved: pa.Table, header: pa.Table) -> None:
    ends = []
    for rows, band, style in _styles(solved, header):
        true = _floats(rows, "zero_point_true") - _floats(rows, "zero_point_nominal")
        axes.plot(true, true + _errors(rows), label=_label(band), **style)
        ends += [*true, *(true + _errors(rows))]
    low, high = min(ends) - 0.01, max(ends) + 0.01
    axes.plot([low, high], [low, high], color="0.2", lw=0.8, zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal",
             xlabel="true zero point − nominal (mag)", ylabel="recovered zero point − nominal (mag)")  # fmt: skip
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _draw_errors(axes: Axes, solved: pa.Table, header: pa.Table) -> None:
    number = {name: k for k, name in enumerate(header.column("name").to_pylist())}
    for rows, band, style in _styles(solved, header):
        x = np.array([number[name] for name in rows.column("name").to_pylist()])
        axes.plot(x, 1e3 * _errors(rows), **style)
        if band:
            axes.errorbar(x, 1e3 * _errors(rows), 1e3 * _floats(rows, "mcal_err"), fmt="none",
                          ecolor=BAND_COLOURS[band], elinewidth=0.7, alpha=0.5)  # fmt: skip
    axes.axhline(0.0, color="0.2", lw=0.8, zorder=1)
    _mark_nights(axes, header)
    bands = ", ".join(f"{band} {1e3 * _rms(_errors(_of_band(solved, band))):.1f}" for band in _bands(solved))
    axes.set_title(f"rms error: {bands} mmag; of the headers {1e3 * _rms(_errors(header)):.1f} mmag", fontsize=10)
    axes.set(xlabel="image, in order of time; lines part the nights", ylabel="recovered − true zero point (mmag)")


def _styles(solved: pa.Table, header: pa.Table) -> list[tuple[pa.Table, str, Style]]:
    """Rows, band and style of every set of points; the headers' come first and have no band."""
    small: Style = {"ls": "none", "marker": "o", "ms": 3.2}
    bands = [
        (_of_band(solved, band), band, {**small, "color": BAND_COLOURS[band], "zorder": 3}) for band in _bands(solved)
    ]
    return [(header, "", {**small, "color": RAW, "mfc": "none", "mew": 0.8, "zorder": 2}), *bands]


def _label(band: str) -> str:
    return f"{band} solved by relcal" if band else "from the headers"


def _mark_nights(axes: Axes, images: pa.Table) -> None:
    night = np.array(images.column("night").to_pylist())
    for edge in np.flatnonzero(np.diff(night)) + 0.5:
        axes.axvline(edge, color="0.9", lw=0.8, zorder=0)


def _errors(rows: pa.Table) -> Array:
    """Zero points minus true ones, mag, one constant per band and component removed."""
    return score_zero_points(rows, rows).error


def _bands(rows: pa.Table) -> list[str]:
    return sorted(set(rows.column("band").to_pylist()), key=list(BAND_COLOURS).index)


def _of_band(rows: pa.Table, band: str) -> pa.Table:
    return rows.filter(pc.equal(rows.column("band"), band))


def _floats(rows: pa.Table, name: str) -> Array:
    return np.asarray(rows.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)


def _rms(value: Array) -> float:
    return float(np.sqrt(np.mean(value**2)))
