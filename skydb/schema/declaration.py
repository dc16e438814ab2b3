"""Declarations: tables that a database has besides skydb's own, stated by their user in TOML.

    name = "spectra"
    meaning = "redshifts from spectra of the follow-up programme"
    keyed_by = "object"                 # or "measurement"
    key = ["programme"]                 # further columns that tell the rows of one object apart

    [[columns]]
    name = "programme"
    type = "string"
    meaning = "observing programme"

    [[columns]]
    name = "redshift"
    type = "float32"
    unit = "…"                          # as the VO writes it
    ucd = "src.redshift"
    meaning = "redshift"

The key columns come first by themselves: object_id, and for measurements image_id and det_id.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from skydb.errors import DataError, UsageError, did_you_mean

from .model import ARROW_TYPES, Column, Table
from .tables import MEASUREMENTS, TABLES

SHIPPED = Path(__file__).parent / "declarations"
"""Where declarations that come with skydb lie."""

KEYS = {"object": ("object_id",), "measurement": ("object_id", "image_id", "det_id")}
"""The columns that say what a row of a declared table is about."""

SIBLINGS = ("XSRC", "XFIT", "XRAD", "XGAL")
"""The kinds of tables that psphot writes beside its detections."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TABLE_WORDS = {"name": str, "meaning": str, "keyed_by": str, "key": list, "version": int, "dvo": str, "psphot": str,
                "columns": list}  # fmt: skip
_COLUMN_WORDS = {
    "name": str, "type": str, "unit": str, "ucd": str, "meaning": str, "dvo": str, "psphot": str, "since": int,
    "default": (bool, int, float, str), "widened": list,
}  # fmt: skip

_WORDS = (
    "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create default"
    " deferrable desc describe distinct do else end except false fetch for foreign from group having in initially"
    " intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer pivot_wider"
    " placing primary qualify references returning select show some summarize symmetric table then to trailing true"
    " union unique unpivot using variadic when where window with"
)
RESERVED = frozenset(_WORDS.split())
"""Words that SQL does not take for a name."""

_DUCKDB_NAMES = re.compile(r"main|temp|system|memory|information_schema|(duckdb|pg|pragma|sqlite)_.*")
"""Names of DuckDB's own schemas, databases and tables."""


def shipped() -> dict[str, Table]:
    """Return the declarations that come with skydb, by name."""
    return {path.stem: read_declaration(path) for path in sorted(SHIPPED.glob("*.toml"))}


def is_shipped(name: str) -> bool:
    """Say whether a declaration of that name comes with skydb."""
    return bool(_NAME.fullmatch(name)) and (SHIPPED / f"{name}.toml").exists()


def read_declaration(source: Path | str) -> Table:
    """Read and check a declaration.

    Parameters
    ----------
    source
        Path of a TOML file, or the name of a declaration that comes with skydb.

    Raises
    ------
    UsageError
        No such file or name, or what it declares is no table.
    """
    path = Path(source)
    if is_shipped(str(source)) and not path.is_file():
        path = SHIPPED / f"{source}.toml"
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = {p.stem for p in SHIPPED.glob("*.toml")}
        raise UsageError("no such declaration", str(source), did_you_mean(str(source), names)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot be read as TOML: {error}", str(source), "correct it") from error
    table = declared_table(given, str(source))
    _check_notes(table, str(source))
    return table


def declared_table(given: Mapping[str, Any], where: str) -> Table:
    """Return the table that a declaration, as TOML or JSON has it, declares.

    Raises
    ------
    UsageError
        It declares no table; says which word, and what to write.
    """
    _check_words(given, _TABLE_WORDS, ("name", "meaning", "keyed_by", "columns"), where)
    name, keyed_by = given["name"], given["keyed_by"]
    _check_names(name, given.get("dvo"), where)
    if keyed_by not in KEYS:
        raise UsageError(f"keyed_by is {keyed_by!r}", where, 'write "object" or "measurement"')
    if given.get("psphot", SIBLINGS[0]) not in SIBLINGS or ("psphot" in given and keyed_by != "measurement"):
        todo = f"write one of {', '.join(SIBLINGS)}, of a table keyed by measurement"
        raise UsageError(f"psphot is {given['psphot']!r}", where, todo)
    extra = tuple(given.get("key", ()))
    columns = [_column(each, extra, f"{where}, column {number}") for number, each in enumerate(given["columns"], 1)]
    _check_columns(columns, extra, where)
    version = given.get("version", 1)
    if version < max([1, *(c.since for c in columns), *(since for c in columns for since, _ in c.widened)]):
        raise UsageError(f"version is {version}, but a column changed later", where, "count every change of the table")
    keys = [MEASUREMENTS[key] for key in KEYS[keyed_by]]
    return Table(
        name, "sky", given["meaning"], (*keys, *columns), sort=(*KEYS[keyed_by], *extra), dvo=given.get("dvo"),
        version=version, keyed_by=keyed_by, psphot=given.get("psphot"),
    )  # fmt: skip


def declaration_text(table: Table) -> str:
    """Return the declaration of a table as JSON, as the catalog keeps it."""
    own = {"name": table.name, "meaning": table.meaning, "keyed_by": table.keyed_by, "version": table.version}
    keys = KEYS[table.keyed_by or "object"]
    extra = {word: value for word, value in (("dvo", table.dvo), ("psphot", table.psphot)) if value}
    columns = [_as_words(c) for c in table if c.name not in keys]
    return json.dumps(own | extra | {"key": list(table.sort[len(keys):]), "columns": columns}, ensure_ascii=False)


def table_of(name: str, text: str) -> Table:
    """Return the table whose declaration the catalog keeps.

    Raises
    ------
    DataError
        It is no declaration that this skydb knows.
    """
    try:
        return declared_table(json.loads(text), f"declaration of {name}")
    except (ValueError, UsageError) as error:
        raise DataError(f"its declaration cannot be read: {error}", f"table {name}", "upgrade skydb") from error


def _as_words(column: Column) -> dict[str, Any]:
    given = {f.name: getattr(column, f.name) for f in fields(Column) if f.name in _COLUMN_WORDS}
    plain = {"unit": None, "ucd": "", "dvo": None, "psphot": None, "since": 1, "default": None, "widened": ()}
    return {name: value for name, value in given.items() if name not in plain or value != plain[name]}


def _check_words(given: object, known: Mapping[str, Any], needed: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise UsageError(f"{given!r} where a table of words is expected", where, "write [[columns]]")
    for word, value in given.items():
        if word not in known:
            raise UsageError(f"no word {word!r}", where, did_you_mean(word, known))
        if not isinstance(value, known[word]) or (isinstance(value, bool) and known[word] is int) or value == "":
            raise UsageError(f"{word} is {value!r}", where, f"see `{word}` in the manual's page on extension tables")
    for word in needed:
        if word not in given:
            raise UsageError(f"no {word} is given", where, f"add {word} = …")


def names_of(table: Table) -> set[str]:
    """Return the names that SQL knows a table by, in lower case."""
    return {table.name, *([table.dvo.lower()] if table.dvo else [])}


def _check_names(name: str, dvo: str | None, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name", where, "use small letters, digits and '_', a letter first")
    if dvo is not None and not _NAME.fullmatch(dvo.lower()):
        raise UsageError(f"{dvo!r} is no name", where, "use letters, digits and '_', a letter first")
    taken = {*RESERVED, *(taken for table in TABLES.values() for taken in names_of(table))}
    for word in (name, *([dvo] if dvo else [])):
        if word.lower() in taken or _DUCKDB_NAMES.fullmatch(word.lower()):
            raise UsageError(f"{word!r} is a table of skydb or a word of SQL", where, "choose another name")


def _column(given: Any, keys: Sequence[str], where: str) -> Column:
    _check_words(given, _COLUMN_WORDS, ("name", "type", "meaning"), where)
    for kind in (given["type"], *(pair[1] for pair in _pairs(given.get("widened", ()), where))):
        if kind not in ARROW_TYPES:
            raise UsageError(f"no type named {kind!r}", where, did_you_mean(str(kind), ARROW_TYPES))
    words = {**given, "widened": _pairs(given.get("widened", ()), where)}
    return Column(**{"unit": None, "ucd": "", "required": given["name"] in keys, **words})


def _pairs(given: Sequence[Any], where: str) -> tuple[tuple[int, str], ...]:
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], int) for pair in given):
        raise UsageError(f"widened is {given!r}", where, 'list versions with the type before: [[2, "int32"]]')
    return tuple((int(since), str(kind)) for since, kind in given)


def _check_columns(columns: Sequence[Column], keys: Sequence[str], where: str) -> None:
    seen: set[str] = set(KEYS["measurement"])
    for column in columns:
        if not _NAME.fullmatch(column.name) or column.name in RESERVED:
            todo = "use small letters, digits and '_', a letter first, and no word of SQL"
            raise UsageError(f"{column.name!r} is no name of a column", where, todo)
        if column.name in seen:
            raise UsageError(f"column {column.name} is there already", where, "keys come first by themselves")
        seen.add(column.name)
    for key in keys:
        if key not in seen - set(KEYS["measurement"]):
            raise UsageError(f"key names {key!r}, which is no column", where, "declare it under [[columns]]")


def _check_notes(table: Table, where: str) -> None:
    """Refuse units and UCDs that the VO does not know."""
    from astropy.io.votable.ucd import parse_ucd
    from astropy.units import Unit

    for column in table:
        try:
            if column.unit:
                Unit(column.unit, format="vounit")
            if column.ucd:
                parse_ucd(column.ucd, check_controlled_vocabulary=True)
        except ValueError as error:
            todo = "write it as the VO does, or leave it out"
            raise UsageError(f"column {column.name}: {error}", where, todo) from None
