"""Simulating a whole survey: plan, sky, exposures in worker processes, truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import ndtr

import skydb
from skydb.errors import UsageError
from skydb.parallel.executor import Progress, executor_for
from skydb.store.layout import given_path

from . import truth
from .camera import photcode_text
from .columns import chip_slices, psphot_table
from .detections import FORCED_FRACTION, SPURIOUS_FRACTION, detect
from .photometry import DETECTION_SNR, sky_variance
from .presets import Preset, checked_switches, preset_for
from .schedule import EXPTIME, Pointing
from .sky import Stars, draw_sky
from .smf import write_smf
from .sources import find_sources
from .survey import Survey, conditions_of, plan_survey

PILOT_STARS = 60_000
"""Stars that are followed through all exposures to learn how many the survey needs."""


@dataclass(frozen=True)
class SimulationSummary:
    """What was written."""

    out: Path
    preset: str
    seed: int
    exposures: int
    images: int
    nights: int
    stars: int
    detections: int
    bytes: int


def simulate(
    out: str | Path,
    *,
    preset: str,
    detections: int | None = None,
    seed: int,
    without: Collection[str] = frozenset(),
    mislabelled_nights: float = 0.0,
    workers: int = 1,
    progress: Progress | None = None,
) -> SimulationSummary:
    """Simulate a survey: SMF files, photcodes and settings in `out`, and apart from them, in `out/truth`, the truth.

    The same arguments write the same bytes, whatever the number of workers.

    Parameters
    ----------
    out : folder to write; it must be empty or not exist
    preset : small, medium or large
    detections : how many, to some per cent; by default the preset's own number
    seed : of all random numbers
    without : names in `presets.SWITCHES` of what to leave out
    mislabelled_nights : fraction of nights that are cloudy and yet reported as photometric
    workers : number of processes
    progress : called with (exposures done, exposures in all)

    Raises
    ------
    UsageError
        Unknown preset or switch, no positive number of detections, or a folder that is not empty.
    """
    plan, switches = preset_for(preset, detections), checked_switches(without)
    given_path(out)  # refuses an empty one, which is the current directory to Path
    folder = _made_folder(Path(out))
    survey = plan_survey(plan, seed, without=switches, mislabelled=mislabelled_nights)
    stars = _write_sky(survey, folder)
    (folder / "photcodes.dat").write_text(photcode_text(survey.camera, floor="floor" not in switches), encoding="ascii")
    (folder / "survey.toml").write_text(_settings_text(survey, mislabelled_nights), encoding="utf-8")
    # Workers need no list of all pointings: without it a task is a few kilobytes.
    task = partial(_expose, replace(survey, pointings=()), folder)
    results = list(executor_for(workers).map(task, survey.pointings, progress=progress))
    chips = pa.concat_tables([r[1] for r in results])
    truth.write_table(folder / "truth" / "exposures.parquet", pa.concat_tables([r[0] for r in results]))
    truth.write_table(folder / "truth" / "chips.parquet", chips)
    truth.write_table(folder / "truth" / "flats.parquet", truth.flat_rows(survey.camera))
    truth.write_table(folder / "truth" / "nights.parquet", truth.night_rows(survey))
    return SimulationSummary(
        folder, plan.name, seed, len(results), chips.num_rows, len(survey.nights), stars,
        int(np.sum(chips.column("n_detections").to_numpy())), sum(r[2] for r in results),
    )


def _made_folder(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("the folder is not empty", str(out), "give a new one")
    for name in ("exposures", "truth/detections"):
        (out / name).mkdir(parents=True)
    return out


def _write_sky(survey: Survey, folder: Path) -> int:
    """Write the true sky, free its memory, and return its number of stars."""
    stars = draw_stars(survey)
    truth.write_stars(folder / "truth" / "stars.parquet", stars, survey)
    pa.default_memory_pool().release_unused()
    return len(stars)


def _expose(survey: Survey, folder: Path, pointing: Pointing) -> tuple[pa.Table, pa.Table, int]:
    """Write one exposure and the truth of its detections; return its rows of the other truth tables, and its size."""
    conditions = conditions_of(survey, pointing)
    stars = truth.read_patch(folder / "truth" / "stars.parquet", pointing.patch, survey.camera.bands)
    found = detect(conditions, find_sources(conditions, stars))
    table = psphot_table(conditions, found)
    size = write_smf(
        folder / "exposures" / f"{pointing.name}.smf", conditions, table, rows=chip_slices(conditions, found)
    )
    rows = truth.detection_rows(conditions, found, table["IPP_IDET"])
    truth.write_table(folder / "truth" / "detections" / f"{pointing.name}.parquet", rows)
    return truth.exposure_row(conditions, found), truth.chip_rows(conditions, found), size


def draw_stars(survey: Survey) -> Stars:
    """Draw the sky with as many stars as give the survey's number of detections, sorted by patch and declination."""
    extra = 0.0 if "spurious" in survey.without else SPURIOUS_FRACTION + FORCED_FRACTION
    target = survey.preset.detections / (1.0 + extra)
    draw = partial(draw_sky, survey.seed, survey.preset, survey.camera.width, without=survey.without)
    pilot = draw(number=int(np.clip(survey.preset.detections // 4, 1_000, PILOT_STARS)))
    reach = np.cumsum(expected_detections(survey, pilot))
    if reach[-1] <= 0.0:
        raise UsageError("no star would ever be detected", "simulate", "ask for more detections")
    if reach[-1] >= target:
        return _sorted(pilot.take(np.arange(int(np.searchsorted(reach, target)) + 1)))
    return _sorted(draw(number=round(target / reach[-1] * len(pilot))))


def expected_detections(survey: Survey, stars: Stars) -> np.ndarray:
    """How often each star would be detected, on average over the noise: (N,), by `star_id`."""
    times = np.zeros(len(stars))
    by_patch = list(_patches(stars, survey.preset))
    for pointing in survey.pointings:
        conditions = conditions_of(survey, pointing)
        sources = find_sources(conditions, by_patch[pointing.patch])
        background = sky_variance(conditions.sigma[sources.chip], conditions.sky_rate * EXPTIME)
        excess = sources.counts / np.sqrt(background + sources.counts) - DETECTION_SNR
        chance = np.heaviside(excess, 1.0) if "noise" in survey.without else ndtr(excess)
        times += np.bincount(sources.star_id, weights=chance, minlength=len(stars))
    return times


def _patches(stars: Stars, preset: Preset) -> Iterator[Stars]:
    for patch in range(len(preset.patches)):
        rows = np.flatnonzero(stars.patch == patch)
        yield stars.take(rows[np.argsort(stars.dec[rows], kind="stable")])


def _sorted(stars: Stars) -> Stars:
    ordered = stars.take(np.lexsort((stars.star_id, stars.dec, stars.patch)))
    return replace(ordered, star_id=np.arange(len(ordered)))


def _settings_text(survey: Survey, mislabelled_nights: float) -> str:
    """The settings as run, in TOML."""
    preset = survey.preset
    lines = [
        f'version = "{skydb.__version__}"', f'preset = "{preset.name}"', f"seed = {survey.seed}",
        f"detections = {preset.detections}", f"without = {_toml(sorted(survey.without))}",
        f"mislabelled_nights = {float(mislabelled_nights)}", f"bands = {_toml(preset.bands)}",
        f"chips = {len(survey.camera.chips)}", f"layers = {preset.layers}",
        f"exposures = {len(survey.pointings)}", f"nights = {len(survey.nights)}",
    ]
    for patch in preset.patches:
        lines += ["", "[[patches]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in asdict(patch).items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return repr(value)
