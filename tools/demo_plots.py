"""The demo's plots: zero points against truth, and a light curve raw and calibrated. They need matplotlib."""

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
from skydb.query.connection import connect

from .score import score_zero_points
from .score_database import image_zero_points, scored_images, truth_folder

COLOURS = {"g": "#1b9e77", "r": "#d1495b", "i": "#b8860b", "z": "#6a4c93", "y": "#4a4e69"}
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
            axes.errorbar(x, 1e3 * _errors(rows), 1e3 * _floats(rows, "mcal_err"), fmt="none", ecolor=COLOURS[band],
                          elinewidth=0.7, alpha=0.5)  # fmt: skip
    axes.axhline(0.0, color="0.2", lw=0.8, zorder=1)
    _mark_nights(axes, header)
    bands = ", ".join(f"{band} {1e3 * _rms(_errors(_of_band(solved, band))):.1f}" for band in _bands(solved))
    axes.set_title(f"rms error: {bands} mmag; of the headers {1e3 * _rms(_errors(header)):.1f} mmag", fontsize=10)
    axes.set(xlabel="image, in order of time; lines part the nights", ylabel="recovered − true zero point (mmag)")


def _styles(solved: pa.Table, header: pa.Table) -> list[tuple[pa.Table, str, Style]]:
    """Rows, band and style of every set of points; the headers' come first and have no band."""
    small: Style = {"ls": "none", "marker": "o", "ms": 3.2}
    bands = [
        (_of_band(solved, band), band, {**small, "color": COLOURS[band], "zorder": 3}) for band in _bands(solved)
    ]
    return [(header, "", {**small, "color": RAW, "mfc": "none", "mew": 0.8, "zorder": 2}), *bands]


def _label(band: str) -> str:
    return f"{band} solved by relcal" if band else "from the headers"


def draw_light_curve(db: Database, object_id: int, path: Path) -> None:
    """Draw an object's magnitudes under nominal zero points and as calibrated; a panel per band, of equal scale."""
    with connect(db) as connection:
        rows = connection.lightcurve(object_id).arrow()
    rows = rows.filter(pc.is_valid(rows.column("mag"))).sort_by("mjd")
    rows = rows.append_column("number", pa.array(np.arange(rows.num_rows)))
    bands = _bands(rows)
    figure = Figure(figsize=(9, 1.2 + 2.8 * len(bands)), layout="constrained")
    panels = figure.subplots(len(bands), 1, squeeze=False, sharex=True)[:, 0]
    spans = [_draw_band(axes, _of_band(rows, band), band) for axes, band in zip(panels, bands, strict=True)]
    half = 0.55 * max(high - low for low, high in spans)
    for axes, (low, high) in zip(panels, spans, strict=True):
        axes.set_ylim((low + high) / 2 + half, (low + high) / 2 - half)
        _mark_dates(axes, _floats(rows, "mjd"))
    panels[-1].set_xlabel("measurement, in order of time; where a night begins, its MJD")
    figure.suptitle(
        f"Light curve of object {object_id}, raw and calibrated\n(error bars: photon noise;"
        " the simulated sky adds 15 mmag, and flat-field structure)", fontsize=11,
    )  # fmt: skip
    figure.savefig(path, dpi=150)


def _draw_band(axes: Axes, rows: pa.Table, band: str) -> tuple[float, float]:
    """Draw one band and return the faintest and brightest magnitude that errors reach."""
    mag, error, x = (_floats(rows, name) for name in ("mag", "mag_err", "number"))
    raw = mag + _floats(rows, "mcal") + np.nan_to_num(_floats(rows, "mflat"))
    axes.vlines(x, raw, mag, color="0.85", lw=1.0, zorder=1)
    open_circle: Style = {"color": RAW, "mfc": "white"}
    filled: Style = {"color": COLOURS[band]}
    for kind, value, style in (("raw (nominal zero points)", raw, open_circle), ("calibrated", mag, filled)):
        label = f"{kind}: scatter {1e3 * value.std():.0f} mmag"
        axes.errorbar(x, value, error, fmt="o", ms=4.5, elinewidth=1.0, label=label, zorder=2, **style)
    axes.axhline(np.average(mag, weights=error**-2), color=COLOURS[band], lw=0.8, alpha=0.6, zorder=1)
    axes.set(ylabel=f"{band} (mag)")
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.0)
    every = np.concatenate([raw - error, raw + error, mag - error, mag + error])
    return float(every.min()), float(every.max())


def _mark_nights(axes: Axes, images: pa.Table) -> None:
    night = np.array(images.column("night").to_pylist())
    for edge in np.flatnonzero(np.diff(night)) + 0.5:
        axes.axvline(edge, color="0.9", lw=0.8, zorder=0)


def _mark_dates(axes: Axes, mjd: Array) -> None:
    """Label where each night begins, and part the nights by lines."""
    first = np.flatnonzero(np.r_[True, np.diff(mjd) > 0.5])
    for edge in first[1:] - 0.5:
        axes.axvline(edge, color="0.9", lw=0.8, zorder=0)
    axes.set_xticks(first, [f"{mjd[k]:.0f}" for k in first], fontsize=8)


def _errors(rows: pa.Table) -> Array:
    """Zero points minus true ones, mag, one constant per band and component removed."""
    return score_zero_points(rows, rows).error


def _bands(rows: pa.Table) -> list[str]:
    return sorted(set(rows.column("band").to_pylist()), key=list(COLOURS).index)


def _of_band(rows: pa.Table, band: str) -> pa.Table:
    return rows.filter(pc.equal(rows.column("band"), band))


def _floats(rows: pa.Table, name: str) -> Array:
    return np.asarray(rows.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)


def _rms(value: Array) -> float:
    return float(np.sqrt(np.mean(value**2)))
