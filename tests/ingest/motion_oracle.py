"""Stars that move, as several surveys and nights see them, and which object each row belongs to, found slowly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RADIUS_ARCSEC = 1.0
ARCSEC = np.pi / 648_000.0
CODES = '\n[[photcodes]]\nname = "{name}"\nkind = "REF"\n'
SURVEY = """
name = "{name}"
kind = "reference"
det_id = "id"
[file]
format = "text"
delimiter = ","
[time]
column = "year"
value = {epoch}
format = "jyear"
scale = "tai"
[photcode]
name = "{name}"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
inst_mag = "mag"
{motions}
"""
MOTIONS = 'pm_ra = "mu"\npm_dec = { column = "nu", unit = "mas/yr" }'
NIGHTS = """
name = "nights"
kind = "detections"
det_id = "id"
[file]
format = "text"
delimiter = ","
[time]
column = "year"
format = "jyear"
scale = "tai"
[photcode]
name = "CAM.r"
[measurements]
ra_raw = "ra"
dec_raw = "dec"
inst_mag = "mag"
"""


@dataclass(frozen=True)
class Row:
    """What a catalog says of a star: number, epoch (yr), unit vector, motion (mas/yr, NaN: none)."""

    number: int
    year: float
    at: np.ndarray
    mu: float = np.nan
    nu: float = np.nan

    @property
    def degrees(self) -> tuple[float, float]:
        """Right ascension and declination."""
        x, y, z = self.at
        return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


@dataclass(frozen=True)
class Catalog:
    """Rows that come together: of a reference survey of that name, or of nights: those of one year are an image."""

    name: str
    rows: list[Row]
    with_motions: bool = False
    parts: int = 1

    def files(self, folder: Path) -> list[Path]:
        """The rows as files of text."""
        paths = []
        for part in range(self.parts):
            lines = ["id,year,ra,dec,mag,mu,nu"]
            for row in self.rows[part :: self.parts]:
                ra, dec = row.degrees
                motion = ["" if np.isnan(v) else repr(float(v)) for v in (row.mu, row.nu)]
                lines.append(",".join([str(row.number), repr(row.year), repr(ra), repr(dec), "15", *motion]))
            paths.append(folder / f"{self.name}-{part}.csv")
            paths[-1].write_text("\n".join(lines) + "\n")
        return paths

    def mapping(self) -> str:
        """The mapping by which its files are read."""
        if self.name.startswith("night"):
            return NIGHTS
        motions = MOTIONS if self.with_motions else ""
        text = SURVEY.format(name=self.name, epoch=self.rows[0].year, motions=motions)
        return text + CODES.format(name=self.name)


@dataclass
class Known:
    """An object: the number of the row that founded it, where and when, its motion, the surveys that it has rows of."""

    founder: Row
    moves: bool
    surveys: set[str] = field(default_factory=set)

    def place(self, year: float) -> np.ndarray:
        """Unit vector at an epoch, along a great circle."""
        row = self.founder
        if not self.moves:
            return row.at
        ra, dec = np.radians(row.degrees)
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        speed = np.hypot(row.mu, row.nu)
        if speed == 0:
            return row.at
        angle = speed * 1e-3 * ARCSEC * (year - row.year)
        return np.asarray(np.cos(angle) * row.at + np.sin(angle) * (row.mu * east + row.nu * north) / speed)


def associated(catalogs: list[Catalog], *, motions: bool = True) -> dict[int, int]:
    """Return, for the number of each row, that of the row that founded its object."""
    return with_objects(catalogs, motions=motions)[0]


def merged(ours: list[Catalog], theirs: list[Catalog]) -> dict[int, int]:
    """Return the same after the objects of one database were brought into another: theirs as rows of one image."""
    (found, objects), (coming, their_objects) = with_objects(ours), with_objects(theirs)
    pairs = sorted(
        (apart(o.place(t.founder.year), t.founder.at), k, i)
        for k, t in enumerate(their_objects) for i, o in enumerate(objects)
        if apart(o.place(t.founder.year), t.founder.at) < RADIUS_ARCSEC
    )  # fmt: skip
    partner: dict[int, int] = {}
    for _, k, i in pairs:
        if k not in partner and i not in partner.values():
            partner[k] = i
    founder = {their_objects[k].founder.number: objects[i].founder.number for k, i in partner.items()}
    return found | {number: founder.get(first, first) for number, first in coming.items()}


def with_objects(catalogs: list[Catalog], *, motions: bool = True) -> tuple[dict[int, int], list[Known]]:
    """Return what `associated` does, and the objects."""
    objects: list[Known] = []
    found: dict[int, int] = {}
    for catalog in catalogs:
        nights = catalog.name.startswith("night")
        for image in images_of(catalog):
            free = [o for o in objects if nights or catalog.name not in o.surveys]
            pairs = sorted(
                (apart(o.place(row.year), row.at), row.number, i)
                for row in image for i, o in enumerate(free) if apart(o.place(row.year), row.at) < RADIUS_ARCSEC
            )  # fmt: skip
            taken: dict[int, Known] = {}
            used: set[int] = set()
            for _, number, i in pairs:
                if number not in taken and i not in used:
                    taken[number] = free[i]
                    used.add(i)
            for row in sorted(image, key=lambda r: r.number):
                if row.number not in taken:
                    moves = motions and catalog.with_motions and not np.isnan(row.mu)
                    taken[row.number] = Known(row, moves)
                    objects.append(taken[row.number])
                found[row.number] = taken[row.number].founder.number
            for known in taken.values():
                known.surveys.add(catalog.name)
    return found, objects


def images_of(catalog: Catalog) -> list[list[Row]]:
    """Return the rows that are associated together: those of a file of a survey, of one time of a night."""
    if not catalog.name.startswith("night"):
        return [catalog.rows[part :: catalog.parts] for part in range(catalog.parts)]
    return [[row for row in catalog.rows if row.year == year] for year in sorted({row.year for row in catalog.rows})]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Angle in arcsec."""
    return float(2 * np.arcsin(np.linalg.norm(one - other) / 2) / ARCSEC)


def stars(place: tuple[float, float], seed: int, *, count: int = 24, width_arcsec: float = 500.0) -> list[Row]:
    """Stars about a place at 1991.25, the first two at 10 arcsec a year, some slower, some with none known."""
    rng = np.random.default_rng(seed)
    ra, dec = np.radians(place)
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    one = np.cross(centre, [0.6, 0.0, 0.8])
    one /= np.linalg.norm(one)
    at = centre + rng.uniform(-0.5, 0.5, (count, 2)) * width_arcsec * ARCSEC @ np.stack((one, np.cross(centre, one)))
    at /= np.linalg.norm(at, axis=1)[:, None]
    speed = np.concatenate(([10_000.0, 10_000.0, 3000.0], rng.choice([0.0, 5.0, 60.0, 700.0, np.nan], count - 3)))
    angle = rng.uniform(0, 2 * np.pi, count)
    return [Row(k, 1991.25, at[k], *map(float, speed[k] * np.array([np.sin(angle[k]), np.cos(angle[k])])))
            for k in range(count)]  # fmt: skip


def seen(sky: list[Row], year: float, rng: np.random.Generator, first: int, *, motions: bool) -> list[Row]:
    """The stars as a catalog of some year sees them: 0.1 arcsec off, all but one in eight, numbered from `first`."""
    rows = []
    for star in sky:
        if rng.random() < 0.125 and star.number > 1:
            continue
        at = Known(star, not np.isnan(star.mu)).place(year) + rng.normal(0, 0.1 * ARCSEC, 3)
        motion = (star.mu, star.nu) if motions else (np.nan, np.nan)
        rows.append(Row(first + star.number, year, at / np.linalg.norm(at), *motion))
    return rows


def survey_of_surveys(place: tuple[float, float], seed: int = 0) -> list[Catalog]:
    """1991 with motions, nights from 1998 to 2005, 2016 with motions (each row a year of its own), nights to 2026.

    A star that does not move lies where the fastest one is in 2005.
    """
    rng = np.random.default_rng(seed + 1)
    sky = stars(place, seed)
    on_the_way = Known(sky[0], moves=True).place(2005.0)
    sky.append(Row(len(sky), 1991.25, on_the_way, 0.0, 0.0))
    sixteen = [
        Row(row.number, year, *_again(sky, row, year, rng))
        for row in seen(sky, 2016.0, rng, 4000, motions=True) for year in [float(rng.uniform(2013, 2016))]
    ]  # fmt: skip
    nights = [[row for year in years for row in seen(sky, year, rng, first + 100 * int(year - 1990), motions=False)]
              for first, years in ((10_000, (1998.0, 2001.5, 2005.0)), (20_000, (2020.25, 2026.0)))]  # fmt: skip
    return [
        Catalog("one", seen(sky, 1991.25, rng, 1000, motions=True), with_motions=True),
        Catalog("night-a", nights[0]),
        Catalog("two", sixteen, with_motions=True, parts=2),
        Catalog("three", seen(sky, 2010.0, rng, 6000, motions=False)),
        Catalog("night-b", nights[1]),
    ]


def _again(
    sky: list[Row], row: Row, year: float, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:  # fmt: skip
    star = sky[row.number - 4000]
    at = Known(star, not np.isnan(star.mu)).place(year) + rng.normal(0, 0.1 * ARCSEC, 3)
    return at / np.linalg.norm(at), row.mu, row.nu
