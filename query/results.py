"""Answers: rows as Arrow, astropy Table, pandas or a stream, with the units and meanings of declared columns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skydb.errors import UsageError
from skydb.schema.model import Column

from .astropy_tables import plain_numbers
from .failures import clear_errors
from .formats import write
from .result_names import declarations, unique_names
from .text_tables import NO_ROWS, fitted_lines, html_table, row_dicts
from .views import OWN

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    from astropy.table import Table

__all__ = ["Result", "declared_as", "write"]

BATCH_ROWS = 131_072
"""Rows of a streamed batch at most."""

PRINTED_ROWS = 20
"""Rows that `print` and a notebook show at most."""


class Result:
    """The answer to a query.

    Nothing is computed before the first rows are asked for. `arrow`, `table`, `df` and `len` keep the rows, `batches`
    and a loop over the rows do not; what comes from a one-time stream can be streamed once. `print` and a notebook
    show the first 20 rows, and compute no more than they need. A pickled answer carries its rows. Names of columns
    differ, in any case: a repeated one gets a number (mag, mag_2), whatever form the answer takes.

    Parameters
    ----------
    source
        A DuckDB relation, an Arrow table, or an Arrow stream.
    declared
        The declared column that a result column is, by its name in lower case, numbered where the query repeats it;
        None: those whose name says so.
    check
        Called when computing the rows fails: raises DataError if a stored file is to blame.
    prepare
        Called each time before rows of a DuckDB relation are computed.

    Examples
    --------
    >>> answer = Result(pa.table({"band": ["g", "r"], "mag": [17.25, 16.5]}))
    >>> print(answer)
    band   mag
          (mag)
    ────  ─────
    g     17.25
    r      16.5
    >>> len(answer), [row["mag"] for row in answer]
    (2, [17.25, 16.5])
    """

    def __init__(
        self,
        source: duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader,
        declared: Mapping[str, Column] | None = None,
        *,
        check: Callable[[], None] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._check, self._prepare = check, prepare
        self._spent = False
        named: Any = source
        names = list(named.schema.names if hasattr(named, "schema") else named.columns)
        self._names = unique_names(names)
        own = declarations(names, [(name, declared_as(name)) for name in names]) if declared is None else declared
        self._declared: Mapping[str, Column] = own
        held = source.rename_columns(self._names) if isinstance(source, pa.Table) else None
        self._rows: pa.Table | None = None if held is None else plain_numbers(held)

    def __repr__(self) -> str:
        rows = "rows not fetched yet" if self._rows is None else f"rows: {self._rows.num_rows}"
        forms = "print it, or take .table(), .df() or .arrow()"
        return f"<skydb result; {rows}; columns: {', '.join(self.columns)}; {forms}>"

    def __str__(self) -> str:
        rows, whole = self.first(PRINTED_ROWS)
        lines = [*fitted_lines(rows, self.units, shutil.get_terminal_size().columns), *self._rest(rows, whole)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows, whole = self.first(PRINTED_ROWS)
        return html_table(rows, self.units) + "".join(f"<p>{line}</p>" for line in self._rest(rows, whole))

    def _rest(self, shown: pa.Table, whole: bool) -> list[str]:
        """Return a line about the rows that are not shown; none where there are none."""
        if whole:
            return [] if shown.num_rows else [NO_ROWS]
        more = "more rows" if self._rows is None else f"{self._rows.num_rows - shown.num_rows} more rows"
        return [f"… {more}: .table(), .df() and .arrow() give all"]

    def __len__(self) -> int:
        return int(self.arrow().num_rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        for batch in self.batches():
            yield from row_dicts(batch)

    def __reduce__(self) -> tuple[object, ...]:
        return Result, (self.arrow(), self._declared)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._names)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns, as Arrow has them; nothing is computed for it."""
        source: Any = self._source
        if hasattr(source, "schema"):
            return self._named(source.schema)
        with clear_errors(self._check):
            return self._named(source.limit(0).to_arrow_table().schema)

    def _named(self, schema: pa.Schema) -> pa.Schema:
        """Return a schema of the source with the names of the answer."""
        fields = [field.with_name(name) for field, name in zip(schema, self._names, strict=True)]
        return pa.schema(fields, metadata=schema.metadata)

    @property
    def declared(self) -> dict[str, Column]:
        """The declarations of those result columns that have one, by their name in the result."""
        found = {name: self._declared.get(name.lower()) for name in self.columns}
        return {name: column for name, column in found.items() if column is not None}

    @property
    def units(self) -> dict[str, str]:
        """The units of those result columns that have one, as the VO writes them."""
        return {name: column.unit for name, column in self.declared.items() if column.unit}

    def first(self, rows: int) -> tuple[pa.Table, bool]:
        """Return the first rows, and whether they are all; of what was not fetched yet, no more is computed."""
        if self._rows is None and not isinstance(self._source, pa.RecordBatchReader):
            kept: list[pa.RecordBatch] = []
            reader = self.reader(rows + 1)
            for batch in reader:
                kept.append(batch)
                if sum(b.num_rows for b in kept) > rows:
                    return self._noted(pa.Table.from_batches(kept, reader.schema).slice(0, rows)), False
            self._rows = plain_numbers(pa.Table.from_batches(kept, reader.schema))
        fetched = self.arrow()
        return fetched.slice(0, rows), fetched.num_rows <= rows

    def _noted(self, rows: pa.Table) -> pa.Table:
        """Return rows with plain numbers, and with the notes of declared columns on their fields."""
        plain = plain_numbers(rows)
        return plain.cast(_described(plain.schema, self.declared))

    def reader(self, rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the rows as an Arrow stream whose fields carry unit, UCD and description.

        Raises
        ------
        UsageError
            A one-time stream that has been read before, or a query that fails.
        """
        if self._rows is not None:
            return self.arrow().to_reader(rows)
        with clear_errors(self._check):
            reader = self._reader(rows)
        schema = _described(self._named(reader.schema), self.declared)
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader, schema))

    def _reader(self, rows: int) -> pa.RecordBatchReader:
        if not isinstance(self._source, pa.RecordBatchReader):
            if self._prepare is not None:
                self._prepare()
            return self._source.to_arrow_reader(rows)
        if self._spent:
            raise UsageError("the rows have been streamed and are gone", "result", "ask again, or use arrow() first")
        self._spent = True
        return self._source

    def _batches(self, reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with clear_errors(self._check):
            for batch in reader:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of at most so many, without keeping them."""
        yield from self.reader(rows)

    def arrow(self) -> pa.Table:
        """Return all rows as an Arrow table.

        Decimals, and with them DuckDB's sums of whole numbers, become int64 where they fit, else float64; streamed
        they stay what they are.
        """
        if self._rows is None:
            reader = self.reader()
            self._rows = plain_numbers(pa.Table.from_batches(self._batches(reader, reader.schema), reader.schema))
        return self._rows.cast(_described(self._rows.schema, self.declared))

    def table(self) -> Table:
        """Return all rows as an astropy Table: units, descriptions, and the UCD of each column in its `meta`.

        NULLs are masked; dates, times and nested values become text.
        """
        from .astropy_tables import astropy_table

        return astropy_table(self.arrow(), self.declared)

    def df(self) -> pd.DataFrame:
        """Return all rows as a pandas data frame, units in `attrs["units"]`.

        Whole numbers with NULLs become pandas' nullable integers, so that ids keep their digits.

        Raises
        ------
        UsageError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            todo = "`pip install pandas`, or use arrow() or table()"
            raise UsageError("pandas is not installed", "df()", todo) from error
        rows = self.arrow()
        frame = pd.DataFrame({i: _series(rows.column(i)) for i in range(rows.num_columns)}, copy=False)
        frame.columns = pd.Index(rows.column_names)
        frame.attrs["units"] = self.units
        return frame

    pandas = df


def _series(values: pa.ChunkedArray[Any]) -> pd.Series[Any]:
    """Return one column for pandas; whole numbers with NULLs as nullable integers."""
    import pandas as pd

    if not (pa.types.is_integer(values.type) and values.null_count):
        return values.to_pandas()  # type: ignore[no-any-return]  # a Series
    nullable = pd.api.types.pandas_dtype(str(values.type).replace("i", "I", 1).replace("uI", "UI"))
    return values.to_pandas(types_mapper={values.type: nullable}.get)  # type: ignore[no-any-return]  # a Series


@cache
def declared_as(name: str) -> Column | None:
    """Return the declaration that a column's name alone stands for; None if tables differ about its unit or UCD.

    >>> declared_as("mag").unit, declared_as("radius_arcsec").unit, declared_as("n")
    ('mag', 'arcsec', None)
    """
    found = [c.column for table in OWN.names for c in OWN.columns(table) if c.name == name.lower()]
    agreed = {(c.unit, c.ucd.split(";")[0]) for c in found}
    return found[0] if len(agreed) == 1 else None


def _described(schema: pa.Schema, declared: Mapping[str, Column]) -> pa.Schema:
    """Return the schema with the notes of declared columns on its fields."""
    notes = {name: column.arrow.metadata for name, column in declared.items()}
    return pa.schema([field.with_metadata(notes.get(field.name)) for field in schema])
