"""A night's report as text and as a page of HTML that stands alone, its plots drawn into it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from html import escape

from skydb.query.night_report import ExposureReport, NightReport

Cell = Callable[[ExposureReport], str]

_COLUMNS: dict[str, tuple[str, Cell]] = {
    "exposure": ("the exposure's name", lambda e: e.exposure),
    "band": ("", lambda e: e.band or ""),
    "mjd": ("middle of the exposure, TAI", lambda e: f"{e.mjd:.5f}"),
    "airmass": ("", lambda e: _number(e.airmass, 2)),
    "images": ("", lambda e: str(e.n_images)),
    "rows": ("rows of the files", lambda e: _count(e.n_in)),
    "matched": ("of the stored detections, those that joined an object", lambda e: _percent(e.match_fraction)),
    "rejected": ("rows that were not stored", lambda e: _count(e.n_rejected)),
    "duplicates": ("of these, those whose number was there before", lambda e: _count(e.n_duplicates)),
    "dRA mas": ("median offset from the objects' mean places, times cos(dec)", lambda e: _number(e.d_ra_mas, 1)),
    "dDec mas": ("", lambda e: _number(e.d_dec_mas, 1)),
    "± mas": ("scatter of the places", lambda e: _number(e.position_scatter_mas, 1)),
    "dmag mmag": ("median offset from the objects' mean magnitudes", lambda e: _number(e.d_mag_mmag, 1)),
    "± mmag": ("scatter of the magnitudes", lambda e: _number(e.mag_scatter_mmag, 1)),
    "zero point": ("median of the images", lambda e: _number(e.zero_point, 3)),
}
"""Heading: what it means, and the text of an exposure."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 72em; padding: 0 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15em .7em; text-align: right } td:first-child, th:first-child { text-align: left }
th { border-bottom: 1px solid #999 } tr:nth-child(even) td { background: #f4f4f2 }
svg { max-width: 100%; height: auto } .note { color: #666 }
"""


def text_of(report: NightReport) -> str:
    """Return the report for a terminal: a sentence and a line for each exposure."""
    rows = [[cell(each) for _, cell in _COLUMNS.values()] for each in report.exposures]
    first, *widths = [max(map(len, column)) for column in zip([*_COLUMNS], *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(first), *(word.rjust(width) for word, width in zip(row[1:], widths, strict=True))])
        for row in ([*_COLUMNS], *rows)
    ]
    return "\n".join([_sentence(report), *_reasons(report), "", *lines])


def page_of(report: NightReport) -> str:
    """Return the report as a page of HTML."""
    heads = "".join(f'<th title="{escape(note)}">{escape(name)}</th>' for name, (note, _) in _COLUMNS.items())
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell(each))}</td>" for _, cell in _COLUMNS.values()) + "</tr>\n"
        for each in report.exposures
    )
    notes = "".join(f"<li><b>{escape(name)}</b>: {escape(note)}</li>" for name, (note, _) in _COLUMNS.items() if note)
    reasons = "".join(f"<p>{escape(line)}</p>" for line in _reasons(report))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Night {report.night}</title><style>{_STYLE}</style></head>
<body><h1>Night {report.night}</h1>
<p>{escape(_sentence(report))}</p>{reasons}
<p class="note">{escape(report.database)}, snapshot {report.snapshot}</p>
{_plots(report.exposures)}
<table><tr>{heads}</tr>
{rows}</table>
<ul class="note">{notes}</ul>
</body></html>
"""


def _sentence(report: NightReport) -> str:
    matched = _percent(report.match_fraction)
    return (
        f"Night {report.night}: {len(report.exposures)} exposures, {report.total('n_images')} images,"
        f" {report.total('n_measurements')} measurements; rows in {report.total('n_in')} = matched"
        f" {report.total('n_matched')} + new {report.total('n_new')} + rejected {report.total('n_rejected')}"
        + (f"; {matched} of the stored detections joined an object that was there" if matched else "")
    )


def _reasons(report: NightReport) -> list[str]:
    words = ", ".join(f"{reason} {n}" for reason, n in sorted(report.reasons.items()))
    return [f"rejected: {words}"] if words else []


def _plots(exposures: Sequence[ExposureReport]) -> str:
    """Draw offsets, zero points and match fractions against time, as SVG; a word where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "<p class=\"note\">Plots need matplotlib: pip install 'skydb[plot]'</p>"
    figure = Figure(figsize=(9.5, 6.4), layout="constrained")
    places, points, parts = figure.subplots(3, 1, sharex=True)
    hours = [24 * (each.mjd - exposures[0].mjd) for each in exposures]
    for name, label, marker in (("d_ra_mas", "RA cos(dec)", "o"), ("d_dec_mas", "Dec", "s")):
        shown = [(h, getattr(e, name)) for h, e in zip(hours, exposures, strict=True) if getattr(e, name) is not None]
        places.plot([h for h, _ in shown], [v for _, v in shown], marker, ms=4, label=label)
    for band in sorted({each.band or "" for each in exposures}):
        mine = [(h, e) for h, e in zip(hours, exposures, strict=True) if (e.band or "") == band]
        shown = [(h, e.zero_point) for h, e in mine if e.zero_point is not None]
        points.plot([h for h, _ in shown], [v for _, v in shown], "o", ms=4, label=band or "no band")
        shown = [(h, 100 * e.match_fraction) for h, e in mine if e.match_fraction is not None]
        parts.plot([h for h, _ in shown], [v for _, v in shown], "o", ms=4, label=band or "no band")
    places.axhline(0, color="0.7", lw=0.8, zorder=0)
    for axes, label in ((places, "offset, mas"), (points, "zero point, mag"), (parts, "matched, %")):
        axes.set_ylabel(label)
        axes.ticklabel_format(useOffset=False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    parts.set_xlabel(f"hours after MJD {exposures[0].mjd:.5f}")
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    return svg[svg.index("<svg") :]


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"
