"""Draw the light curve of an object: a row of panels for every band, a column for every season."""

from __future__ import annotations

import datetime
import io
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError

from .connection import Connection
from .lightcurve_points import BandPoints, LightCurve, light_curve

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, ScalarFormatter
except ImportError as missing:
    raise UsageError("matplotlib is not installed", "plots", "pip install 'skydb[plot]'") from missing

Floats = NDArray[np.float64]

BAND_COLOURS = {
    "u": "#6a4c93", "U": "#6a4c93", "B": "#2a6fbb", "g": "#1b9e77", "V": "#1b9e77", "r": "#d1495b", "R": "#d1495b",
    "i": "#b8860b", "I": "#b8860b", "z": "#7f5539", "y": "#4a4e69",
}  # fmt: skip
OTHER_COLOUR = "#34495e"
RAW_COLOUR = "0.62"
MARKERS = {"chip": "o", "stack": "s", "warp": "D", "reference": "*", "diff": "v"}

LARGEST_GAP = 0.25
"""A gap of a larger part of the time that is shown parts two seasons …"""
CLEAR_GAP = 10.0
"""… if it is as many times longer than gaps usually are: points at even distances stay together."""
MOST_SEASONS = 6
NARROWEST = 0.22
"""A season's least width, in widths of the longest."""
LEAST_SPAN_MAG = 0.1
PLOT_INCHES = 7.7
MARGIN_INCHES = 0.1
"""Room beside the first and the last point of a season."""
TICK_INCHES = 0.85
MOST_BEYOND = 0.03
"""The largest part of a band's points that may lie beyond its panel, as arrows."""


@dataclass(frozen=True)
class Limits:
    """The magnitudes that a panel shows, from `bright` to `faint`."""

    bright: float
    faint: float

    def widened(self, span: float) -> Limits:
        """The limits about the same middle."""
        middle = (self.bright + self.faint) / 2
        return Limits(middle - span / 2, middle + span / 2)


def plot_lightcurve(connection: Connection, object_id: int, *, raw: bool = False) -> Figure:
    """Draw the magnitudes of an object against time, and return the figure.

    A band has a row, all rows the same scale; seasons with long gaps between them stand side by side, each at a scale
    of its own. Hollow points take no part in the mean (the line): flags or `psf_qf` speak against them, or they are
    outliers. Those far off are arrows at the edge.

    Parameters
    ----------
    connection
        Of the snapshot to draw.
    object_id
        The object.
    raw
        Draw also, in grey, the magnitudes under nominal zero points: neither `mcal` nor `mflat` applied.

    Raises
    ------
    UsageError
        No such object, or one without any magnitude.
    """
    return drawn(light_curve(connection, object_id), raw=raw)


def drawn(curve: LightCurve, *, raw: bool = False) -> Figure:
    """Draw points that were read before; see `plot_lightcurve`."""
    parts = seasons(np.concatenate([band.mjd for band in curve.bands]))
    widths = _widths(parts)
    figure = Figure(figsize=(9.5, 1.35 + max(1.75 * len(curve.bands), 2.4)))
    figure.set_layout_engine("constrained", wspace=0.01, hspace=0.02, w_pad=0.03, h_pad=0.04)
    panels = figure.subplots(
        len(curve.bands), len(parts), squeeze=False, sharex="col", sharey="row", width_ratios=widths
    )
    limits = [_limits(band, raw=raw) for band in curve.bands]
    span = 1.08 * max(limit.faint - limit.bright for limit in limits)
    for row, band, limit in zip(panels, curve.bands, limits, strict=True):
        _draw_band(list(row), band, limit.widened(span), raw=raw)
    for column, part, width in zip(panels.T, parts, widths, strict=True):
        _set_time_axis(list(column), part, PLOT_INCHES * width / sum(widths))
    _part_panels(panels)
    _label(figure, curve, raw=raw)
    return figure


def write_plot(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format that the file's name ends with; a file of that name is replaced.

    Raises
    ------
    UsageError
        Another ending than matplotlib knows, or a file that cannot be written.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise UsageError(f"{os.fspath(path)} does not end as a picture does", "plot", "name it .png, .pdf or .svg")
    picture = io.BytesIO()
    figure.savefig(picture, format=kind, dpi=150)
    try:
        Path(path).write_bytes(picture.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}", "plot", "name another file") from error


def seasons(mjd: Floats) -> list[tuple[float, float]]:
    """First and last moment of every season, d: the longest gaps are left out while they take most of the room."""
    times = np.unique(mjd)
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    shown = float(times[-1] - times[0])
    cuts: list[int] = []
    for place in np.argsort(-gaps).tolist():
        gap = float(gaps[place])
        if len(cuts) + 1 >= MOST_SEASONS or gap <= LARGEST_GAP * shown or gap <= max(CLEAR_GAP * usual, 1.0):
            break
        cuts.append(place)
        shown -= gap
    ends = [*sorted(cuts), len(times) - 1]
    begins = [0, *(end + 1 for end in ends[:-1])]
    return [(float(times[b]), float(times[e])) for b, e in zip(begins, ends, strict=True)]


def _widths(parts: list[tuple[float, float]]) -> list[float]:
    """Widths of seasons, in widths of the longest; all within a day are alike."""
    lengths = [max(last - first, 1.0) for first, last in parts]
    return [max(length / max(lengths), NARROWEST) for length in lengths]


def _limits(band: BandPoints, *, raw: bool) -> Limits:
    """Magnitudes that hold what the mean uses, with its errors, and what lies not far from that."""
    core = band.used if band.used.any() else np.ones(len(band), dtype=np.bool_)
    error = np.minimum(band.mag_err, 3.0 * np.median(band.mag_err))
    values = [band.mag - error, band.mag + error, *([band.raw] if raw else [])]
    bright, faint = min(float(v[core].min()) for v in values), max(float(v[core].max()) for v in values)
    span = max(faint - bright, LEAST_SPAN_MAG)
    near = (band.mag > bright - span) & (band.mag < faint + span)
    shown = band.mag[near | (near.mean() < 1.0 - MOST_BEYOND)]
    bright, faint = min(bright, float(shown.min())), max(faint, float(shown.max()))
    return Limits(bright, faint).widened(max(faint - bright, LEAST_SPAN_MAG))


def _draw_band(row: list[Axes], band: BandPoints, limits: Limits, *, raw: bool) -> None:
    colour = BAND_COLOURS.get(band.band, OTHER_COLOUR)
    size = 4.6 if len(band) < 60 else 3.4 if len(band) < 250 else 2.6
    style: dict[str, Any] = {"fmt": MARKERS[band.source], "ms": size, "elinewidth": 0.9, "ecolor": colour}
    filled: dict[str, Any] = {"mfc": colour, "mec": "white", "mew": 0.4}
    hollow: dict[str, Any] = {"mfc": "white", "mec": colour, "mew": 0.9}
    for axes in row:
        if np.isfinite(band.mean):
            axes.axhline(band.mean, color=colour, lw=0.9, alpha=0.45, zorder=1)
        if raw:
            axes.vlines(band.mjd, band.raw, band.mag, color="0.88", lw=1.0, zorder=1)
            axes.plot(band.mjd, band.raw, "o", ms=0.8 * size, color=RAW_COLOUR, zorder=2)
        for part, look in ((band.used, filled), (~band.used, hollow)):
            axes.errorbar(band.mjd[part], band.mag[part], band.mag_err[part], zorder=3, **style, **look)
        _mark_beyond(axes, band, limits, colour)
        axes.set_ylim(limits.faint, limits.bright)
        axes.grid(axis="y", color="0.93", lw=0.7)
        axes.set_axisbelow(True)
    source = "" if band.source == "chip" else f", {band.source}"
    row[0].set_ylabel(f"{band.band}{source} (mag)", color=colour, fontsize=11)
    row[-1].text(1.015 if len(row) == 1 else 1.04, 0.5, _statistics(band, raw=raw), transform=row[-1].transAxes,
                 va="center", fontsize=8, color="0.35", linespacing=1.5)  # fmt: skip


def _mark_beyond(axes: Axes, band: BandPoints, limits: Limits, colour: str) -> None:
    """Mark points beyond the limits by arrows at the edge."""
    inset = 0.03 * (limits.faint - limits.bright)
    for beyond, edge, marker in ((band.mag < limits.bright, limits.bright + inset, "^"),
                                 (band.mag > limits.faint, limits.faint - inset, "v")):  # fmt: skip
        axes.plot(band.mjd[beyond], np.full(beyond.sum(), edge), marker, ms=5, mfc="white", mec=colour, zorder=4)


def _statistics(band: BandPoints, *, raw: bool) -> str:
    """The mean of a band in a few lines."""
    lines = [f"{band.used.sum()} of {len(band)} used"]
    if np.isfinite(band.mean):
        lines.insert(0, f"mean {band.mean:.3f}")
    if band.used.sum() > 1:
        lines.append(f"scatter {band.stdev:.3f}")
        if raw:
            lines.append(f"raw scatter {band.raw_stdev:.3f}")
        if np.isfinite(band.chi2):
            lines.append(f"χ²/dof {band.chi2:.3g}")
    return "\n".join(lines)


def _set_time_axis(column: list[Axes], part: tuple[float, float], inches: float) -> None:
    """Set limits and ticks of a season, and write its date above it."""
    first, last = part
    pad = MARGIN_INCHES / (inches - 2 * MARGIN_INCHES) * (last - first) or 0.5
    bottom = column[-1]
    bottom.set_xlim(first - pad, last + pad)
    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    bottom.xaxis.set_major_formatter(plain)
    if inches < 2 * TICK_INCHES:
        bottom.set_xticks([_round_between(first, last)])
    else:
        bottom.xaxis.set_major_locator(MaxNLocator(int(inches / TICK_INCHES), steps=[1, 2, 5, 10]))
    for axes in column:
        axes.tick_params(labelsize=9)
    column[0].set_title(_dates(first, last), fontsize=8.5, color="0.35")


def _round_between(first: float, last: float) -> float:
    """The roundest number about the middle of a range.

    >>> _round_between(59356.36, 59367.9), _round_between(56906.217, 56906.341)
    (59362.0, 56906.3)
    """
    middle, near = (first + last) / 2, 0.25 * (last - first)
    return next((m for m in (round(middle, n) for n in range(4)) if abs(m - middle) <= near), round(middle, 3))


def _dates(first: float, last: float) -> str:
    """Two moments (MJD) as a day, or as months.

    >>> _dates(59356.2, 59356.4), _dates(59356.2, 59358.0), _dates(59356.2, 59600.0)
    ('22 May 2021', 'May 2021', 'May 2021 – Jan 2022')
    """
    days = [datetime.date(1858, 11, 17) + datetime.timedelta(days=int(mjd)) for mjd in (first, last)]
    if days[0] == days[1]:
        return f"{days[0].day} {days[0]:%b %Y}"
    begin, end = (f"{day:%b %Y}" for day in days)
    if begin == end:
        return begin
    return f"{days[0]:%b} – {end}" if days[0].year == days[1].year else f"{begin} – {end}"


def _part_panels(panels: NDArray[Any]) -> None:
    """Open the frame between seasons, and mark the break by slanted strokes."""
    stroke = {"marker": [(-0.5, -1), (0.5, 1)], "ms": 7, "ls": "none", "color": "0.2", "mew": 0.9, "clip_on": False}
    for row in panels:
        for left, right in itertools.pairwise(row):
            left.spines.right.set_visible(False)
            right.spines.left.set_visible(False)
            right.tick_params(axis="y", length=0)
            left.plot([1, 1], [0, 1], transform=left.transAxes, **stroke)
            right.plot([0, 0], [0, 1], transform=right.transAxes, **stroke)


def _label(figure: Figure, curve: LightCurve, *, raw: bool) -> None:
    """Write title, label of the time axis, and a legend of the marks that need one."""
    where = "" if curve.position is None else "   RA {:.5f}  Dec {:+.5f}".format(*curve.position).replace("-", "−")
    figure.suptitle(f"Object {curve.object_id}{where}", fontsize=12, x=0.012, ha="left")
    lost = f"   ({curve.n_without_mag} measurements without a magnitude)" if curve.n_without_mag else ""
    figure.supxlabel(f"MJD (TAI, mid-exposure){lost}", fontsize=10)
    dot: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 5}
    marks = []
    if raw:
        marks += [Line2D([], [], color="0.2", label="calibrated", **dot),
                  Line2D([], [], color=RAW_COLOUR, label="raw", **dot)]  # fmt: skip
    if any(not band.used.all() for band in curve.bands):
        marks.append(Line2D([], [], mec="0.2", mfc="white", color="0.2", label="not in the mean", **dot))
    if marks:
        figure.legend(handles=marks, loc="outside upper right", ncols=len(marks), frameon=False, fontsize=9,
                      columnspacing=1.3, handletextpad=0.1)  # fmt: skip
