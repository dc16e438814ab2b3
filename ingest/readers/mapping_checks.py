"""What a mapping must fulfil beyond the form of its keys: kinds, declared columns, units, photcodes, file formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skydb.errors import UsageError, did_you_mean
from skydb.schema.model import Table
from skydb.schema.tables import EXPOSURES, IMAGES, MEASUREMENTS

from .interface import MOTIONS
from .mapping_rules import ColumnRule, TextRule
from .quantities import FLUXES, MAGNITUDES, PER_SECOND, conversion, expected_unit

if TYPE_CHECKING:
    from .mapping import Mapping

MAPPABLE: dict[str, tuple[Table, frozenset[str]]] = {
    "measurements": (
        MEASUREMENTS,
        frozenset(MEASUREMENTS.names) - {"object_id", "image_id", "det_id", "code", "mjd", "link_flags"},
    ),
    "images": (
        IMAGES,
        frozenset(IMAGES.names)
        - {"image_id", "image_key", "exposure_id", "kind", "code", "mjd", "utc_start", "exptime", "n_detections"},
    ),
    "exposures": (
        EXPOSURES,
        frozenset(EXPOSURES.names) - {"exposure_id", "kind", "mjd", "utc_start", "night", "exptime"},
    ),
}
"""The declared columns that a mapping may fill; time, photcode and ids have keys of their own."""


def check(mapping: Mapping) -> None:
    """Check a mapping whose keys are all of the right form.

    Raises
    ------
    UsageError
        What is wrong, at which key, and what to give instead.
    """
    for problem in (
        _check_kind, _check_columns, _check_motions, _check_photcode, _check_difference, _check_texts, _check_file,
    ):  # fmt: skip
        problem(mapping)


def _check_kind(mapping: Mapping) -> None:
    wanted = () if mapping.kind == "images" else ("ra_raw", "dec_raw")
    for name in wanted:
        if name not in mapping.measurements:
            raise UsageError(f"{name} is absent", "measurements", "say which column of the file it is")
    if mapping.kind == "images" and (mapping.measurements or mapping.magnitudes or mapping.det_id):
        raise UsageError("rows that are images hold no detections", "kind", "leave measurements and det_id out")
    if mapping.det_id_text and not mapping.det_id:
        raise UsageError("det_id is absent", "det_id_text", "name the column of the text")
    if mapping.kind == "reference" and mapping.time.value is None:
        raise UsageError("the epoch of the survey is absent", "time.value", 'give it: value = 2000.0, format = "jyear"')
    one_time = bool(mapping.time.column) != (mapping.time.value is not None)
    if mapping.kind != "reference" and not one_time and not _own_times(mapping):
        raise UsageError("give either column or value", "time", "the column that holds the time, or a constant")


def _own_times(mapping: Mapping) -> bool:
    return bool(mapping.magnitudes) and all(band.time for band in mapping.magnitudes)


def _check_columns(mapping: Mapping) -> None:
    for section_name, (table, allowed) in MAPPABLE.items():
        for name, rule in getattr(mapping, section_name).items():
            _check_column(mapping, name, rule, where=f"{section_name}.{name}", table=table, allowed=allowed)
    for i, band in enumerate(mapping.magnitudes):
        for name, rule in band.columns.items():
            table, allowed = MAPPABLE["measurements"]
            where = f"magnitudes[{i}].columns.{name}"
            _check_column(mapping, name, rule, where=where, table=table, allowed=allowed)
    if mapping.time.exptime and mapping.time.exptime.unit:
        conversion(mapping.time.exptime.unit, "s", "time.exptime.unit")
    if mapping.time.unit:
        conversion(mapping.time.unit, "s" if mapping.time.format == "unix" else "d", "time.unit")


def _check_column(
    mapping: Mapping, name: str, rule: ColumnRule, *, where: str, table: Table, allowed: frozenset[str]
) -> None:
    if name not in table:
        raise UsageError(f"table {table.name} has no column {name!r}", where, did_you_mean(name, allowed))
    if name not in allowed:
        raise UsageError(f"column {name!r} cannot be mapped", where, "it follows from time, photcode and det_id")
    if mapping.kind == "reference" and table is not MEASUREMENTS and rule.column:
        raise UsageError("the image of a reference survey has constants only", where, "give value = …")
    if rule.calibrated and (name not in MAGNITUDES | FLUXES or mapping.kind != "detections"):
        raise UsageError("calibrated is for magnitudes and fluxes of detections", where, "leave it out")
    if rule.per and name not in MAGNITUDES | FLUXES | PER_SECOND:
        raise UsageError("per is for counts, instrumental magnitudes, sky and zero points", where, "leave it out")
    if rule.signal_to_noise and (name != "inst_mag_err" or rule.unit):
        raise UsageError("signal_to_noise is for inst_mag_err, and has no unit", where, "leave it out")
    if not rule.column and (rule.only_with or rule.signal_to_noise or (rule.min, rule.max) != (None, None)):
        raise UsageError("min, max, only_with and signal_to_noise are for columns", where, "leave them out")
    if (rule.min, rule.max) != (None, None) and table[name].type in ("string", "list<float64>"):
        raise UsageError("min and max are for columns of numbers", where, "leave them out")
    if rule.sexagesimal and rule.unit is None:
        raise UsageError("a sexagesimal column needs a unit", where, 'give unit = "hourangle" or unit = "deg"')
    if rule.unit is not None:
        conversion(rule.unit, expected_unit(table[name], rule, mapping.kind), where)


def _check_motions(mapping: Mapping) -> None:
    """Motions move objects: only a reference survey may give them, both parts of each, and a star's are one."""
    named = MOTIONS & mapping.measurements.keys()
    of_bands = [name for band in mapping.magnitudes for name in MOTIONS & band.columns.keys()]
    if of_bands:
        raise UsageError(f"{of_bands[0]} is the star's, whatever the photcode", "magnitudes", "give it in measurements")
    if named and mapping.kind != "reference":
        where = f"measurements.{min(named)}"
        raise UsageError("motions and parallaxes are taken of reference surveys alone", where, "leave it out")
    if len(named & {"pm_ra", "pm_dec"}) == 1:
        raise UsageError("a motion has two parts", "measurements", "give both pm_ra (times cos dec) and pm_dec")


def _check_photcode(mapping: Mapping) -> None:
    if mapping.photcode and mapping.magnitudes:
        raise UsageError("photcode and magnitudes exclude each other", "photcode", "give one of them")
    if not mapping.photcode and not mapping.magnitudes:
        raise UsageError("no photcode is given", "photcode", "give photcode.name, photcode.column, or magnitudes")
    rule = mapping.photcode
    if rule and bool(rule.name) == bool(rule.column):
        raise UsageError("give either name or column", "photcode", "one photcode, or the column that tells it")
    if rule and mapping.kind == "reference" and not rule.name:
        raise UsageError("a reference survey has photcodes of its own", "photcode", "give photcode.name, or magnitudes")


def _check_difference(mapping: Mapping) -> None:
    rule = mapping.difference
    if rule is None:
        return
    mapped = [mapping.measurements, *(band.columns for band in mapping.magnitudes)]
    if not any("inst_mag" in columns for columns in mapped):
        raise UsageError("there are no magnitudes to give a sign", "difference", "map inst_mag, or leave it out")
    if any("inst_flux" in columns for columns in mapped):
        raise UsageError("inst_flux is mapped, and would be made of inst_mag", "difference", "leave one of them out")
    if not set(rule.positive).isdisjoint(rule.negative):
        raise UsageError("a value stands for both signs", "difference", "list it under one of them")


def _check_texts(mapping: Mapping) -> None:
    for i, band in enumerate(mapping.magnitudes):
        for name, rule in band.only_where.items():
            _check_text(rule, f"magnitudes[{i}].only_where.{name}")
    for i, cut in enumerate(mapping.cuts):
        if cut.holds is not None:
            _check_text(cut.holds, f"cuts[{i}].holds")
            if cut.bits or (cut.min, cut.max) != (None, None):
                raise UsageError("a column is of text or of numbers", f"cuts[{i}]", "make two cuts of them")


def _check_text(rule: TextRule, where: str) -> None:
    if bool(rule.among) + bool(rule.good) + bool(rule.bad) != 1:
        raise UsageError("give one of among, good and bad", where, "say which texts or characters are good, or bad")
    if rule.place is not None and (rule.among or rule.place < 0):
        raise UsageError("place is that of a character, from 0", where, "give it with good or bad")


def _check_file(mapping: Mapping) -> None:
    file = mapping.file
    if file.header == "none" and not file.names:
        raise UsageError("a file without a header needs names", "file.names", "list its columns, in order")
    givers = {rule.column for name, rule in mapping.measurements.items() if name not in ("ra_raw", "dec_raw")}
    if stray := [name for name in file.optional if name not in givers]:
        what = f"{stray[0]!r} is no column that measurements names beside the position"
        raise UsageError(what, "file.optional", "list columns of measurements alone")
    if file.optional and file.format == "avro":
        raise UsageError("an avro file has packets", "file.optional", "give packets.optional, in [file.packets]")
    if file.delimiter not in ("whitespace", "tab") and len(file.delimiter) != 1:
        raise UsageError(f"{file.delimiter!r} is no delimiter", "file.delimiter", "give whitespace, tab or a character")
    known = ("any", "parquet", "fits", "text", "ecsv", "votable", "avro")
    if file.format not in known and not file.format.startswith("ascii."):
        advice = did_you_mean(file.format, (*known, "ascii.cds"))
        raise UsageError(f"unknown format {file.format!r}", "file.format", advice)
    if file.beside and file.format != "fits":
        raise UsageError("only a FITS file has tables beside each other", "file.beside", "leave it out")
    if (file.packets is not None) != (file.format == "avro"):
        todo = 'give both: format = "avro", and packets.records with the fields that hold detections'
        raise UsageError("an avro file has packets, and no other has", "file.packets", todo)
    if file.packets is not None and not file.packets.records:
        raise UsageError("no field of the packets is named", "file.packets.records", "name those that hold detections")
