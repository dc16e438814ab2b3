"""What the schema of an alert packet says: in which fields its detections are, and of which types theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from skydb.errors import DataError, did_you_mean

from .mapping_rules import PacketRule

PLAIN = {
    "null": pa.null(), "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.string(), "enum": pa.string(),
}  # fmt: skip
"""Avro's types of single values."""


@dataclass(frozen=True)
class PacketSchema:
    """The Arrow type of every wanted column that the detections of a packet have."""

    where: str
    types: Mapping[str, pa.DataType]

    @classmethod
    def of(cls, schema: Any, where: str, rule: PacketRule, columns: Iterable[str]) -> PacketSchema:
        """Check that packets of a schema hold what a mapping names.

        Raises
        ------
        DataError
            The packets lack a field that holds detections, those lack a column, or a column holds no single values.
        """
        named = {}
        for record in _records(schema):
            named[record["name"]] = record
        held = _fields(schema)
        kinds = []
        for name in rule.records:
            if name not in held:
                what = f"its packets have no field {name!r}"
                raise DataError(what, where, f"{did_you_mean(name, held)} (in file.packets.records of the mapping)")
            kinds.append(_detection(held[name], named, f"{where}, field {name!r}"))
        wanted = {*columns, rule.needs, rule.withdrawn} - {""}
        types = {name: _joined(name, kinds, named, where) for name in sorted(wanted)}
        absent = [name for name, type_ in types.items() if type_ is None and name not in rule.optional]
        if absent:
            advice = did_you_mean(absent[0], {name for kind in kinds for name in kind})
            raise DataError(f"no column {absent[0]!r} in {rule.records[0]!r}", where, f"{advice} (in the mapping)")
        return cls(where, {name: type_ for name, type_ in types.items() if type_ is not None})


def joined_types(known: dict[str, pa.DataType], schema: PacketSchema) -> dict[str, pa.DataType]:
    """Return types that hold the values of several schemas: packets of one archive may be of several versions.

    Raises
    ------
    DataError
        A column is text in one and a number in another.
    """
    if all(known.get(name) == type_ for name, type_ in schema.types.items()):
        return known
    return {**known, **{name: _common(name, known.get(name), type_, schema.where)
                        for name, type_ in schema.types.items()}}  # fmt: skip


def _records(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the records that are defined anywhere in a schema."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "error"):
            yield schema
            for inner in schema["fields"]:
                yield from _records(inner["type"])
        else:
            yield from _records(schema.get("items", schema.get("values", schema["type"])))


def _fields(schema: Any) -> dict[str, Any]:
    """Return the types of a record's fields, by name."""
    return {f["name"]: f["type"] for f in schema["fields"]} if isinstance(schema, dict) and "fields" in schema else {}


def _branches(kind: Any) -> list[Any]:
    """Return what a type can be, besides NULL."""
    return [branch for branch in (kind if isinstance(kind, list) else [kind]) if branch != "null"]


def _detection(kind: Any, named: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of the records that a packet's field holds, alone or in a list."""
    branches = _branches(kind)
    if len(branches) == 1:
        (one,) = branches
        one = named.get(one, one) if isinstance(one, str) else one
        if isinstance(one, dict) and one["type"] == "array":
            return _detection(one["items"], named, where)
        if _fields(one):
            return _fields(one)
    raise DataError("it holds neither a record nor a list of records", where, "correct file.packets.records")


def _joined(name: str, kinds: Iterable[dict[str, Any]], named: Mapping[str, Any], where: str) -> pa.DataType | None:
    """Return the type of a column that some of the records have; None where none has it."""
    found = None
    for kind in kinds:
        if name in kind:
            found = _common(name, found, _plain(name, kind[name], where), where)
    return found


def _plain(name: str, kind: Any, where: str) -> pa.DataType:
    types = []
    for branch in _branches(kind) or ["null"]:
        word = branch["type"] if isinstance(branch, dict) else branch
        if word not in PLAIN or (isinstance(branch, dict) and "logicalType" in branch):
            raise DataError(f"column {name!r} is of the Avro type {word!r}, no single value", where,
                            "leave it out of the mapping")  # fmt: skip
        types.append(PLAIN[word])
    return types[0] if len(types) == 1 else _all_common(name, types, where)


def _all_common(name: str, types: Iterable[pa.DataType], where: str) -> pa.DataType:
    found = None
    for type_ in types:
        found = _common(name, found, type_, where)
    return found


def _common(name: str, one: pa.DataType | None, other: pa.DataType, where: str) -> pa.DataType:
    if one is None or one == other or one == pa.null():
        return other
    if other == pa.null():
        return one
    try:
        pair = [pa.schema([(name, type_)]) for type_ in (one, other)]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        todo = "ingest packets of different versions from archives of their own"
        raise DataError(f"column {name!r} is {other} here and {one} elsewhere", where, todo) from None
