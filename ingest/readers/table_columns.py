"""The columns of one block under a mapping: converted once each, with what was nulled and what must be rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.calibration.photometric import POGSON
from skydb.errors import DataError, UsageError
from skydb.schema.model import Column

from .interface import LARGEST_AIRMASS
from .mapping import Mapping
from .mapping_rules import ColumnRule, TextRule
from .quantities import conversion, expected_unit, is_unit
from .table_blocks import ELEMENT, Block, bare
from .table_texts import is_text, not_good
from .table_values import Values, converted

_COUNTED = ("count", "count/s")
"""Units of what a mapping takes for counts unless it says otherwise."""


@dataclass
class BlockColumns:
    """Converts columns of a block, counts the values that became NULL, and keeps why rows are rejected.

    `reason` (N,) names the first thing that is wrong with a row, "" where nothing is.
    """

    path: Path
    mapping: Mapping
    units: dict[str, str]
    block: Block
    n_nulled: int = 0
    reason: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.reason = np.full(self.block.rows.num_rows, "", dtype=object)

    def __len__(self) -> int:
        return int(self.block.rows.num_rows)

    @property
    def kept(self) -> np.ndarray:
        """Which rows (N,) are not rejected."""
        return np.asarray(self.reason == "", dtype=bool)

    def reject(self, wrong: np.ndarray, reason: str) -> None:
        """Reject rows that nothing else was wrong with."""
        self.reason[wrong & self.kept] = reason

    def source(self, name: str) -> pa.Array:
        """Return a column of the file; `name[2]` is an element of a column of arrays.

        One that the mapping says a file may lack, and this one does, is NULL.
        """
        if bare(name) not in self.block.rows.column_names:
            return pa.nulls(len(self))
        array = self.block.rows.column(bare(name)).combine_chunks()
        match = ELEMENT.fullmatch(name)
        if match is None:
            return array
        try:
            return pc.list_element(array, int(match[2]))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"column {bare(name)!r} has no element {match[2]}: {error}", str(self.path),
                            "correct the mapping; elements count from 0") from None  # fmt: skip

    def value(self, column: Column, rule: ColumnRule) -> pa.Array:
        """Return one declared column (N,), in its declared type and unit."""
        if rule.value is not None:
            return self._constant(column, rule)
        array = self.source(rule.column)
        self._refuse_lists(array, column, rule)
        factor = self._factor(column, rule)
        nulls = (*rule.nulls, *self.mapping.file.nulls)
        values = converted(array, column.type, nulls=nulls, sexagesimal=rule.sexagesimal, factor=factor)
        array = self._meant(self.take(rule.column, values, column.type), rule, factor)
        if rule.signal_to_noise:
            array = self._without(pc.less_equal(array, 0.0), array)
            return arrays_of(POGSON / floats(array), column)
        if column.is_error:  # as the other readers do (`errors_of`)
            return self._without(pc.less(array, 0.0), array)
        if column.name == "airmass":
            return self._without(pc.or_(pc.less(array, 1.0), pc.greater(array, LARGEST_AIRMASS)), array)
        return array

    def _meant(self, array: pa.Array, rule: ColumnRule, factor: float) -> pa.Array:
        """NULL the values that stand for none by the rule: beyond its limits, or without the column that vouches."""
        if rule.min is not None:
            array = self._without(pc.less(array, rule.min * factor), array)
        if rule.max is not None:
            array = self._without(pc.greater(array, rule.max * factor), array)
        if rule.only_with:
            array = self._without(pc.and_(self._no_value(rule.only_with), pc.is_valid(array)), array)
        return array

    def holding(self, arrays: dict[str, pa.Array], rules: dict[str, TextRule]) -> dict[str, pa.Array]:
        """NULL the values of rows whose texts are not what rules ask for, by their columns."""
        wrong = np.zeros(len(self), dtype=bool)
        for name, rule in rules.items():
            wrong |= self.not_good(name, rule)
        bad = pa.array(wrong)
        return {name: self._without(pc.and_(bad, pc.is_valid(array)), array) for name, array in arrays.items()}

    def not_good(self, name: str, rule: TextRule) -> np.ndarray:
        """Say in which rows (N,) a column of text is not what a rule asks for.

        Raises
        ------
        DataError
            The column holds no text: digits of flags that were read as a number are in no certain place.
        """
        source = self.source(name)
        if not is_text(source):
            where, todo = f"{self.path}, column {name!r}", "have it written as text, or use min, max or bits of a cut"
            raise DataError(f"a condition is on a text, the file has {source.type}", where, todo)
        return not_good(source, rule, self.mapping.file.nulls)

    def _no_value(self, name: str) -> pa.Array:
        """Say where a column of the file has no value: NULL, NaN, an empty field, a text that stands for none."""
        source = self.source(name)
        if pa.types.is_floating(source.type):
            return pc.is_null(source, nan_is_null=True)
        nulls = (*self.mapping.file.nulls, "nan", "NaN", "NAN")
        return converted(source, "string", nulls=nulls, sexagesimal=False, factor=1.0).array.is_null()

    def _without(self, wrong: pa.Array, array: pa.Array) -> pa.Array:
        """NULL the values that cannot be, and count them."""
        wrong = wrong.fill_null(False)
        self.n_nulled += int(pc.sum(wrong).as_py() or 0)
        return pc.if_else(wrong, pa.scalar(None, array.type), array)

    def _constant(self, column: Column, rule: ColumnRule) -> pa.Array:
        given = rule.value
        if column.type != "string" and rule.unit is not None:
            given = given * conversion(rule.unit, expected_unit(column, rule, self.mapping.kind), column.name)
        elif column.type == "string":
            given = str(given)
        if column.is_error and given < 0:
            raise UsageError(f"the error {rule.value!r} is below 0", column.name, "leave it out if it is not known")
        try:
            return pa.array([given] * len(self), column.arrow.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise UsageError(f"{given!r} is no {column.type}", column.name, "correct the constant") from None

    def _refuse_lists(self, array: pa.Array, column: Column, rule: ColumnRule) -> None:
        lists = pa.types.is_nested(array.type)
        if lists and not column.type.startswith("list"):
            todo = f"name an element in the mapping, such as {rule.column}[0]"
            raise DataError(f"column {rule.column!r} holds arrays", str(self.path), todo)

    def take(self, name: str, values: Values, wanted: str) -> pa.Array:
        """Count what became NULL, refuse or reject what cannot be read, and return the array."""
        self.n_nulled += values.n_nulled
        if values.unreadable.any():
            if self.mapping.file.bad_rows == "error":
                row = int(np.flatnonzero(values.unreadable)[0])
                held = self.source(name)[row].as_py()
                todo = "correct the mapping (nulls lists values that stand for none), or set file.bad_rows = \"reject\""
                raise DataError(f"{held!r} in column {name!r} is no {wanted}", self.place(row), todo)
            self.reject(values.unreadable, f"unreadable_{name}")
        return values.array

    def place(self, row: int) -> str:
        """Say where a row is, for messages."""
        return f"{self.path}, {self.block.place(row)}"

    def _factor(self, column: Column, rule: ColumnRule) -> float:
        wanted = expected_unit(column, rule, self.mapping.kind)
        where, theirs = f"{self.path}, column {rule.column!r}", self.units.get(bare(rule.column))
        if rule.unit is not None:
            if theirs and is_unit(theirs) and not _agree(rule.unit, theirs):
                todo = "correct the unit in the mapping, or leave it out to trust the file"
                raise DataError(f"the mapping says {rule.unit!r}, the file {theirs!r}", where, todo)
            return conversion(rule.unit, wanted, where)
        if not theirs or column.type == "string":
            return 1.0
        try:
            return conversion(theirs, wanted, where)
        except UsageError as error:
            if wanted is None:
                return 1.0  # a pure number whose unit says nothing, such as airmass in "unitless"
            on_sky = ", or set calibrated = true if they are fluxes on the sky" if wanted in _COUNTED else ""
            raise DataError(error.what, where, f"name the unit of the values in the mapping{on_sky}") from None


def _agree(mapped: str, filed: str) -> bool:
    """Say whether two units measure in the same thing, whatever the factor: degrees are not radians."""
    first, second = u.Unit(mapped), u.Unit(filed)
    if isinstance(first, u.FunctionUnitBase) or isinstance(second, u.FunctionUnitBase):
        return True
    same = first.bases == second.bases and first.powers == second.powers
    try:
        return same or conversion(mapped, filed, "") == 1.0
    except UsageError:
        return False


def floats(array: pa.Array) -> np.ndarray:
    """Return a numeric array as float64 with NaN for NULL."""
    values: np.ndarray = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Return degrees in [0, 360)."""
    turned = np.mod(angle, 360.0)
    return np.where(turned == 360.0, 0.0, turned)  # the remainder of a tiny negative angle rounds to 360


def arrays_of(values: np.ndarray, column: Column) -> pa.Array:
    """Return floats as an array of a declared type, NaN as NULL."""
    absent = ~np.isfinite(values)
    return pa.array(np.where(absent, 0, values), mask=absent).cast(column.arrow.type, safe=False)


def codes_of(columns: Sequence[pa.Array]) -> np.ndarray:
    """Return one number (N,) per distinct combination of some columns; the order of the numbers means nothing."""
    combined = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = column.dictionary_encode()
        places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        combined = combined * (len(encoded.dictionary) + 1) + places
        combined = np.unique(combined, return_inverse=True)[1].astype(np.int64)
    return combined
