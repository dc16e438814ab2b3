"""How a section of a mapping file is declared: keys with a parser, a default and a meaning, checked in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from skydb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

Parse = Callable[[Any, str], Any]
"""Turns a TOML value into the key's value; the text says where the value stands, for the error."""


def key(parse: Parse, form: str, meaning: str, default: Any = MISSING) -> Any:
    """Declare one key: its parser, the form that a person writes, its meaning; no default: the key is required."""
    notes = {"parse": parse, "form": form, "meaning": meaning}
    if callable(default):
        return field(default_factory=default, metadata=notes)
    return field(default=default, metadata=notes)


def is_required(declared: Field[Any]) -> bool:
    """Say whether a declared key must be given."""
    return declared.default is MISSING and declared.default_factory is MISSING


def build(section: type[T], content: Any, where: str) -> T:
    """Turn one TOML table into its declared section.

    Raises
    ------
    UsageError
        Not a table, an unknown key, a value of the wrong form, a required key that is absent.
    """
    if not isinstance(content, dict):
        raise UsageError(f"a table is wanted, not {content!r}", where, "see the reference of mapping files")
    declared = {f.name: f for f in fields(section)}
    for name in content:
        if name not in declared:
            raise UsageError(f"no key named {name!r}", where, did_you_mean(name, declared))
    absent = [name for name, f in declared.items() if name not in content and is_required(f)]
    if absent:
        raise UsageError(f"key {absent[0]!r} is absent", where, declared[absent[0]].metadata["meaning"])
    given = {name: declared[name].metadata["parse"](value, f"{where}.{name}") for name, value in content.items()}
    return section(**given)


def text(value: Any, where: str) -> str:
    """Accept a string."""
    if not isinstance(value, str):
        raise UsageError(f"a text is wanted, not {value!r}", where, "put it in quotes")
    return value


def number(value: Any, where: str) -> float:
    """Accept a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"a number is wanted, not {value!r}", where, "write it without quotes")
    return float(value)


def integer(value: Any, where: str) -> int:
    """Accept a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"a whole number is wanted, not {value!r}", where, "write it without quotes and point")
    return value


def yes_no(value: Any, where: str) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"true or false is wanted, not {value!r}", where, "write it without quotes")
    return value


def text_or_integer(value: Any, where: str) -> str | int:
    """Accept a name or a number."""
    return value if isinstance(value, str) else integer(value, where)


def constant(value: Any, where: str) -> str | float | int:
    """Accept a text or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"a text or a number is wanted, not {value!r}", where, "give one value")
    return value


def one_of(*words: str) -> Parse:
    """Accept one of some words."""

    def parse(value: Any, where: str) -> str:
        if value not in words:
            raise UsageError(f"{value!r} is not one of {', '.join(words)}", where, did_you_mean(str(value), words))
        return str(value)

    return parse


def many(parse: Parse) -> Parse:
    """Accept a list, each element by one parser; a single value is a list of one."""

    def parse_all(value: Any, where: str) -> tuple[Any, ...]:
        items = value if isinstance(value, list) else [value]
        return tuple(parse(item, f"{where}[{i}]") for i, item in enumerate(items))

    return parse_all


def table_of(parse: Parse) -> Parse:
    """Accept a table of free names, each value by one parser."""

    def parse_all(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise UsageError(f"a table is wanted, not {value!r}", where, "write name = value pairs")
        return {name: parse(item, f"{where}.{name}") for name, item in value.items()}

    return parse_all


def section(kind: type[DataclassInstance]) -> Parse:
    """Accept a table that is a declared section."""
    return lambda value, where: build(kind, value, where)
