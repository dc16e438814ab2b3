# ruff: noqa: RUF009  key() is dataclasses.field with notes: what it returns is a field, not a shared default
"""Mapping files: how a table that skydb does not know by itself becomes detections, a reference survey, or images."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from skydb.errors import DataError, UsageError, did_you_mean
from skydb.schema.photcode import code_of_name
from skydb.schema.photcodes import Photcode, Photcodes
from skydb.schema.tables import PHOTCODES

from .mapping_checks import check
from .mapping_keys import build, key, many, number, one_of, section, table_of, text
from .mapping_rules import (
    COLUMNS,
    ColumnRule,
    CutRule,
    DifferenceRule,
    FileRule,
    MagnitudeRule,
    PhotcodeRule,
    TimeRule,
)

KINDS = ("detections", "reference", "images")


def _photcode(value: Any, where: str) -> Photcode:
    """Accept the columns of one photcode; one without a number gets one made of its name, the same everywhere."""
    content = table_of(lambda item, _: item)(value, where)
    for name in content:
        if name not in PHOTCODES:
            raise UsageError(f"table photcodes has no column {name!r}", where, did_you_mean(name, PHOTCODES.names))
    name = text(content.get("name"), f"{where}.name")
    try:
        return Photcode(**{"code": code_of_name(name), **content})
    except (DataError, TypeError, ValueError) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        raise UsageError(what, where, "see the columns of the photcodes table") from None


def _with_radius(code: Photcode, radius_arcsec: float) -> Photcode:
    """Return a photcode with the mapping's association radius, where measurements can have it and it has none."""
    if code.kind not in ("DEP", "REF") or code.radius_arcsec is not None:
        return code
    return replace(code, radius_arcsec=radius_arcsec)


@dataclass(frozen=True)
class Mapping:
    """One mapping file, checked."""

    name: str = key(text, "text", "name of the mapping; of a reference survey also the name of the survey")
    kind: str = key(
        one_of(*KINDS), ", ".join(KINDS),
        "what a row is: a detection of an image, a star of a reference survey (one detection per photcode), or an"
        " image",
    )  # fmt: skip
    file: FileRule = key(section(FileRule), "table", "how to find the rows in the file")
    time: TimeRule = key(section(TimeRule), "table", "when the rows were measured")
    image_kind: str = key(
        one_of("chip", "stack", "warp", "diff"), "chip, stack, warp, diff", "what the images are", "chip"
    )
    description: str = key(text, "text", "what the table is and where it comes from", "")
    based_on: str = key(
        text, "text",
        "name of a mapping that comes with skydb, whose keys hold wherever this one gives none; a list that is given "
        "here stands in place of its list",
        "",
    )  # fmt: skip
    det_id: str = key(
        text, "text",
        "column with the file's own numbers of the rows, whole and below 2**63; without it rows are numbered from"
        " 0",
        "",
    )  # fmt: skip
    det_id_text: str = key(
        one_of("digits", "hash"), "digits or hash",
        "how numbers are made of a `det_id` that is text: `digits`: of its digits, in order (`0987-0123456` is "
        "9870123456; they must tell the rows apart); `hash`: a 63-bit hash of it",
        "",
    )  # fmt: skip
    radius_arcsec: float | None = key(
        number, "number", "association radius of the photcodes that the mapping declares, arcsec", None
    )
    photcode: PhotcodeRule | None = key(section(PhotcodeRule), "table", "which photcode a row has", None)
    magnitudes: tuple[MagnitudeRule, ...] = key(
        many(section(MagnitudeRule)), "list of tables",
        "columns of each photcode, in place of `[photcode]`, where a row holds several",
        (),
    )  # fmt: skip
    difference: DifferenceRule | None = key(
        section(DifferenceRule), "table", "that the magnitudes are of difference images, and where their sign is", None
    )  # fmt: skip
    measurements: dict[str, ColumnRule] = key(
        COLUMNS, "table",
        "columns of `measurements`; `ra_raw` and `dec_raw` (ICRS) are required unless rows are images",
        dict,
    )  # fmt: skip
    images: dict[str, ColumnRule] = key(
        COLUMNS, "table",
        "columns of `images`; `chip` is part of what makes an image",
        dict,
    )  # fmt: skip
    exposures: dict[str, ColumnRule] = key(
        COLUMNS, "table",
        "columns of `exposures`; `name` is part of what makes an exposure and its images",
        dict,
    )  # fmt: skip
    cuts: tuple[CutRule, ...] = key(many(section(CutRule)), "list of tables", "quality cuts", ())
    photcodes: tuple[Photcode, ...] = key(
        many(_photcode), "list of tables",
        "photcodes that are added to the database if it lacks them: columns of the `photcodes` table; without "
        "`code` the number is made of the name",
        (),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.radius_arcsec is not None:
            codes = tuple(_with_radius(code, self.radius_arcsec) for code in self.photcodes)
            object.__setattr__(self, "photcodes", codes)

    def new_photcodes(self, known: Photcodes) -> tuple[Photcode, ...]:
        """Return the declared photcodes that a database lacks; one that it has, by name, keeps the database's values.

        Raises
        ------
        UsageError
            The database has a photcode of that name, but of another kind or band.
        """
        new = []
        for declared in self.photcodes:
            if declared.name not in known:
                new.append(declared)
                continue
            there = known.by_name(declared.name)
            if (there.kind, there.band) != (declared.kind, declared.band):
                what = f"the database has {declared.name!r} as {there.kind} of {there.band}, not {declared.kind}"
                raise UsageError(what, f"mapping {self.name}", "give it another name in a copy of the mapping")
        return tuple(new)

    @property
    def bands(self) -> tuple[MagnitudeRule, ...]:
        """What a row can make a detection of: `magnitudes`, or one of the row's own photcode ("")."""
        return self.magnitudes or (MagnitudeRule(self.photcode.name if self.photcode else "", {}),)


def load_mapping(path_or_name: str | PathLike[str]) -> Mapping:
    """Read and check a mapping file.

    Parameters
    ----------
    path_or_name : file or name
        A TOML file, or the name of a mapping that comes with skydb (`tycho2`).

    Raises
    ------
    UsageError
        No such file or name; not TOML; an unknown key, column or unit; something required that is absent.

    Examples
    --------
    >>> load_mapping("tycho2").kind
    'reference'
    """
    where = str(path_or_name)
    try:
        content = _with_base(tomllib.loads(_text_of(path_or_name)), where)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not a TOML file: {error}", where, "see the how-to on mapping a table") from None
    try:
        return build(Mapping, content, where)
    except UsageError as error:
        inside = (error.where or "").removeprefix(where).lstrip(".")
        raise UsageError(error.what, f"{where}: {inside}" if inside else where, error.todo) from None


def _with_base(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the content of a mapping file, with that of the mapping it is based on."""
    if "based_on" not in content:
        return content
    name = text(content["based_on"], f"{where}: based_on")
    if name not in shipped_mappings():
        raise UsageError(f"no mapping named {name!r} comes with skydb", f"{where}: based_on",
                         did_you_mean(name, shipped_mappings()))  # fmt: skip
    return _merged(_with_base(tomllib.loads(_text_of(name)), name), content)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of two TOML tables; those of tables in both are merged, any other is the second's."""
    both = {k for k in own if isinstance(own[k], dict) and isinstance(base.get(k), dict)}
    return {**base, **own, **{k: _merged(base[k], own[k]) for k in both}}


def shipped_mappings() -> tuple[str, ...]:
    """Return the names of the mappings that come with skydb."""
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in _shipped()))


def _shipped() -> Iterator[Any]:
    folder = resources.files("skydb.ingest") / "mappings"
    return (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _text_of(path_or_name: str | PathLike[str]) -> str:
    for entry in _shipped():
        if entry.name == f"{path_or_name}.toml":
            return str(entry.read_text(encoding="utf-8"))
    path = Path(path_or_name)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    advice = did_you_mean(str(path_or_name), shipped_mappings())
    raise UsageError(f"no mapping file or name {str(path_or_name)!r}", None, advice)
