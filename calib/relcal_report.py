"""What one call of relcal did: for people, for JSON, and for the row of `calibrations`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from skydb.flags import ImageFlags

from .bands import Band
from .gauge import DEVIANT, deviant_headers
from .passes import PassLine
from .report import PassRecord, ZeroPointSolution
from .select import LARGEST_MAG, Reason
from .verdict import Outcome

LARGEST = 100
"""Components, and images with strange headers, that a report lists; all are counted."""
NAMED = 5
"""Images with strange headers that the text names."""


@dataclass(frozen=True)
class BandReport:
    """The solution of one band.

    n_images, n_solved, n_excluded
        Images of the band; those with a zero point of their own now; those that the user took out.
    n_stars, n_measurements
        Stars and measurements in the last pass.
    n_candidates, rejected
        Measurements of the band's images, and those of them that did not enter, by reason: the numbers add up to
        `n_candidates - n_measurements`.
    n_components
        Groups of images that stars tie together; zero points are relative within each.
    rms : mag
        Weighted rms residual about the star means.
    chi2
        Weighted squared residuals per degree of freedom.
    n_freedom
        Degrees of freedom.
    median_mcal_err : mag
        Of the solved images; NaN without any.
    outcomes
        Images by what became of them.
    n_few, n_poor
        Solved images that are flagged PHOTOM_FEW, PHOTOM_POOR.
    converged
        Whether the robust weights had settled when they were frozen.
    method
        "direct" or "iterative".
    components
        The largest ones: number, smallest image id, images, measurements, how many images fixed the constant (those
        whose headers agree), and the mean mcal that these had and keep (mag).
    n_implausible, implausible_headers
        Images whose header's zero point is none, or cannot be one beside those of its photcode, and counts as absent:
        image_id, name, zpt_obs (mag).
    n_deviant, deviant_headers
        Solved images whose header contradicts the stars of its group by more than 0.5 mag and 5 sigma: image_id,
        name, off (mag, solution less header; above 0 it is fainter than the header says). The furthest first.
    weak_modes
        The combinations of zero points that the data hold most loosely: component, rms (mag), the image moved most.
    """

    band: str
    n_images: int
    n_solved: int
    n_excluded: int
    n_stars: int
    n_measurements: int
    n_candidates: int
    rejected: dict[str, int]
    n_components: int
    rms: float
    chi2: float
    n_freedom: int
    median_mcal_err: float
    outcomes: dict[str, int]
    n_few: int
    n_poor: int
    converged: bool
    method: str
    components: tuple[dict[str, Any], ...]
    weak_modes: tuple[dict[str, Any], ...]
    passes: tuple[PassRecord, ...]
    n_implausible: int
    implausible_headers: tuple[dict[str, Any], ...]
    n_deviant: int
    deviant_headers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class RelcalReport:
    """What one call of relcal did.

    `base` is the snapshot that was solved; `snapshot` and `calibration` are None where nothing was committed: on a
    dry run, or when no image could be solved. `seconds` is the time of each step.
    """

    mode: str
    base: int
    snapshot: int | None
    calibration: int | None
    bands: tuple[BandReport, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def n_solved(self) -> int:
        """Images with a zero point of their own, in all bands."""
        return sum(b.n_solved for b in self.bands)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON: NaN is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def text(self) -> str:
        """Return the report for people: one line a band, what was rejected, how long it took."""
        solved = [b for b in self.bands if b.n_solved]
        lines = [_outcome(self), *([_TABLE_HEAD] if solved else []), *map(_table_line, solved)]
        if not self.bands:
            lines.append("no image is of a band: give their photcodes one, see `skydb photcodes`")
        lines += [_nothing_solved(b) for b in self.bands if not b.n_solved]
        for band in solved:
            dropped = ", ".join(f"{reason} {count}" for reason, count in band.rejected.items() if count)
            lines.append(f"{band.band}: rejected {dropped or 'none'}")
            lines += [f"{band.band}: {remark}" for remark in _remarks(band)]
        lines.append("seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in self.seconds.items()))
        return "\n".join(lines)


def report_band(band: Band, found: ZeroPointSolution, lines: tuple[PassLine, ...]) -> BandReport:
    """Report on the solution of one band; `lines` are its passes as they ran."""
    images, last, gauge = found.images, found.passes[-1], found.gauge
    solved = images.outcome == Outcome.SOLVED
    n_solved, n_components = int(solved.sum()), len(gauge.n_images)
    rejected = {reason.name.lower(): int(n) for reason, n in zip(Reason, images.rejected.sum(axis=0), strict=True)}
    implausible, deviant = _implausible(band), _deviant(band, found)
    rejected |= {"outlier": int(images.n_outliers.sum()), "alone": int(images.n_alone.sum())}
    return BandReport(
        band=band.name, n_images=len(solved), n_solved=n_solved, n_excluded=int(band.images.excluded.sum()),
        n_stars=lines[-1].n_stars, n_measurements=last.n_used, n_candidates=int(images.n_candidates.sum()),
        rejected=rejected, n_components=n_components, rms=last.rms, chi2=last.chi2,
        n_freedom=max(last.n_used - lines[-1].n_stars - n_solved + n_components, 0),
        median_mcal_err=float(np.median(images.mcal_err[solved])) if n_solved else math.nan,
        outcomes={o.name.lower(): int(np.sum(images.outcome == o)) for o in Outcome},
        n_few=int(np.sum(images.flags[solved] & ImageFlags.PHOTOM_FEW > 0)),
        n_poor=int(np.sum(images.flags[solved] & ImageFlags.PHOTOM_POOR > 0)),
        converged=found.converged, method=gauge.method, components=_components(found),
        weak_modes=tuple(
            {"component": m.component, "eigenvalue": m.eigenvalue, "rms": m.rms, "image_id": int(found.image_id[m.row])}
            for m in gauge.weak_modes
        ),
        passes=found.passes,
        n_implausible=len(implausible), implausible_headers=implausible[:LARGEST],
        n_deviant=len(deviant), deviant_headers=deviant[:LARGEST],
    )  # fmt: skip


def _components(found: ZeroPointSolution) -> tuple[dict[str, Any], ...]:
    gauge = found.gauge
    largest = np.argsort(-gauge.n_images, kind="stable")[:LARGEST]
    return tuple(
        {
            "component": c, "first_image_id": int(gauge.first_image_id[c]), "n_images": int(gauge.n_images[c]),
            "n_used": int(gauge.n_used[c]), "n_fixing": int(gauge.n_fixing[c]),
            "mean_mcal": float(gauge.mean_mcal[c]),
        }
        for c in largest.tolist()
    )  # fmt: skip


def _implausible(band: Band) -> tuple[dict[str, Any], ...]:
    """Images whose header has a zero point that is not believed."""
    rows = np.flatnonzero(~np.isnan(band.zpt_obs) & ~band.images.from_header)
    return tuple(_named(band, row) | {"zpt_obs": float(band.zpt_obs[row])} for row in rows.tolist())


def _deviant(band: Band, found: ZeroPointSolution) -> tuple[dict[str, Any], ...]:
    """Images whose header contradicts the stars, the furthest first."""
    change = found.images.mcal - band.images.mcal
    rows, off = deviant_headers(found.images.component, change, band.images.from_header)
    order = np.argsort(-np.abs(off), kind="stable")
    return tuple(_named(band, row) | {"off": float(o)} for row, o in zip(rows[order], off[order], strict=True))


def _named(band: Band, row: int) -> dict[str, Any]:
    return {"image_id": int(band.images.image_id[row]), "name": str(band.images.name[row])}


def overall_chi2(bands: tuple[BandReport, ...]) -> float | None:
    """Chi-square per degree of freedom of all bands; None without any freedom."""
    free = [b for b in bands if b.n_freedom > 0 and math.isfinite(b.chi2)]
    freedom = sum(b.n_freedom for b in free)
    return sum(b.chi2 * b.n_freedom for b in free) / freedom if freedom else None


def calibration_report(bands: tuple[BandReport, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the row of `calibrations` says: settings, and by band convergence, gauge and rejections."""
    plain: dict[str, Any] = _plain({**settings, "bands": {b.band: asdict(b) for b in bands}})
    return plain


def report_of_calibration(stored: Mapping[str, Any], base: int, seconds: dict[str, float]) -> RelcalReport:
    """Return the report that the row of a calibration tells of; nothing is committed yet."""
    bands = tuple(_band_of(plain) for plain in stored["bands"].values())
    return RelcalReport(stored["mode"], base, None, None, bands, seconds)


def _band_of(plain: Mapping[str, Any]) -> BandReport:
    """Return a band's report from plain data."""
    rows = {f.name: tuple(plain[f.name]) for f in fields(BandReport) if isinstance(plain[f.name], list)}
    passes = tuple(PassRecord(**_with_nan(PassRecord, each)) for each in plain["passes"])
    return BandReport(**{**_with_nan(BandReport, plain), **rows, "passes": passes})


def _with_nan(kind: type, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data as the fields of a dataclass: None is NaN where a number is meant."""
    floats = {f.name for f in fields(kind) if f.type == "float"}
    return {name: math.nan if value is None and name in floats else value for name, value in plain.items()}


_TABLE_HEAD = (
    "band   images   solved  components      stars  measurements  rms mag    chi2  median mcal_err  few  poor"
)


def _table_line(b: BandReport) -> str:
    return (
        f"{b.band:<6} {b.n_images:>6} {b.n_solved:>8} {b.n_components:>11} {b.n_stars:>10} {b.n_measurements:>13}"
        f" {b.rms:>8.5f} {b.chi2:>7.3f} {b.median_mcal_err:>16.5f} {b.n_few:>4} {b.n_poor:>5}"
    )


def _outcome(report: RelcalReport) -> str:
    images = f"{report.n_solved} images solved from snapshot {report.base}"
    if report.snapshot is not None:
        return f"{images}; calibration {report.calibration} applied in snapshot {report.snapshot}"
    return f"{images}; nothing committed"


_WHY_NOT = {
    "not_finite": "without a magnitude or an error above 0",
    "implausible_mag": f"more than {LARGEST_MAG:g} mag from 0", "image_excluded": "of images that are taken out",
    "bad_flags": "with bad flags (--exclude-photflags)", "poor_flags": "with poor flags (see --allow-poor)",
    "low_psf_qf": "with a low psf_qf", "large_error": "with a larger error than --max-mag-err",
    "too_faint": "fainter than the --brightest", "single_image": "of stars that one image alone has",
    "outlier": "outliers", "alone": "whose star no other image saw well",
}  # fmt: skip


def _nothing_solved(band: BandReport) -> str:
    """Say what was missing in a band without a solved image: its numbers are all zero or NaN."""
    if not band.n_candidates:
        return f"{band.band}: nothing to solve: its {band.n_images} images have no measurements"
    dropped = ", ".join(f"{count} {_WHY_NOT[reason]}" for reason, count in band.rejected.items() if count)
    left = f"none of {band.n_candidates} measurements in {band.n_images} images is left"
    return f"{band.band}: nothing to solve: {left}: {dropped}"


def _remarks(band: BandReport) -> list[str]:
    """What a user should know before trusting the numbers."""
    left = [f"{o.replace('_', ' ')} {n}" for o, n in band.outcomes.items() if n and o != "solved"]
    remarks = [f"not solved: {', '.join(left)}"] if left else []
    if not band.converged and band.n_solved:
        remarks.append("the robust weights had not settled when they were frozen")
    if band.n_components > 1:
        remarks.append(f"{band.n_components} groups of images share no star: each keeps the mean mcal that it had")
    return [*remarks, *_header_remarks(band)]


def _header_remarks(band: BandReport) -> list[str]:
    """Name the images whose headers are not believed, or are contradicted."""
    remarks = []
    if band.n_implausible:
        which = _list_of(band.implausible_headers, "zpt_obs", "g")
        remarks.append(f"{band.n_implausible} zero points of headers cannot be, and count as absent: {which}")
    if band.n_deviant:
        which = _list_of(band.deviant_headers, "off", "+.2f")
        remarks.append(
            f"{band.n_deviant} headers contradict the stars by more than {DEVIANT} mag (solution less header): {which}"
        )
    return remarks


def _list_of(images: tuple[dict[str, Any], ...], key: str, form: str) -> str:
    """Return the names of the first images, each with a number."""
    named = [f"{i['name'] or i['image_id']} {i[key]:{form}}" for i in images[:NAMED]]
    return ", ".join([*named, "…"] if len(images) > NAMED else named)


def _plain(value: Any) -> Any:
    """A value as JSON knows it, NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
