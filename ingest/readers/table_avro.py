"""Alert packets in Avro as a table: each record of a packet that holds a detection is a row.

Packets of ZTF (github.com/ZwickyTransientFacility/ztf-avro-alert, `schema/`) hold `candidate` and a list
`prv_candidates`, those of LSST (github.com/lsst/alert_packet, `lsst.v*.alert.avsc`) `diaSource` and `prvDiaSources`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skydb.errors import DataError, UsageError

from .avro_files import MAGIC, Container, check_magic, containers
from .avro_schemas import PacketSchema, joined_types
from .interface import MissingError
from .mapping_rules import FileRule, PacketRule
from .table_blocks import Block, TableFile

INSTALL = "pip install 'skydb[alerts]'"
BLOCK_ROWS = 50_000
"""Rows of a block at most: until a block is an Arrow table its values are Python objects, ten times as large."""


def open_avro(path: Path, rule: FileRule, columns: tuple[str, ...], rows: int) -> TableFile:
    """Open a file of alert packets; Avro gives no units.

    Raises
    ------
    UsageError
        fastavro is not installed.
    DataError
        The file is absent, damaged, or holds other packets than the mapping says.
    """
    if rule.packets is None:
        raise UsageError("the mapping does not say what packets hold", str(path), "give file.packets")
    try:
        import fastavro  # noqa: F401  to say at once that it is absent
    except ImportError as error:
        raise UsageError("fastavro, which reads Avro, is not installed", str(path), INSTALL) from error
    return TableFile({}, _blocks(path, rule, _Gathered(rule.packets, columns), min(rows, BLOCK_ROWS)))


def _blocks(path: Path, rule: FileRule, gathered: _Gathered, rows: int) -> Iterator[Block]:
    seen: dict[str, PacketSchema] = {}
    for container in containers(path):
        where = f"{path}[{container.place}]" if container.place else str(path)
        try:
            for schema, packet in _packets(container, where, gathered, seen):
                yield from gathered.add(schema, packet, container.place or path.name, rows)
        except DataError:
            if not container.place or rule.bad_rows == "error":
                raise
            gathered.refuse("unreadable_packet")
    if gathered.n_in:
        yield gathered.block()


def _packets(
    container: Container, where: str, gathered: _Gathered, seen: dict[str, PacketSchema]
) -> Iterator[tuple[PacketSchema, dict[str, Any]]]:
    """Yield the packets of a container, each with its schema; `seen` keeps those that are known, by their text."""
    import fastavro

    if container.stream is None:
        raise DataError("a link or another thing that is no file", where, "write the archive with the files themselves")
    _check_head(container, where)
    count = 0
    try:
        reader = fastavro.reader(container.stream)
        text = reader.metadata.get("avro.schema", "")
        if text not in seen:
            seen[text] = PacketSchema.of(reader.writer_schema, where, gathered.rule, gathered.columns)
        for packet in reader:
            yield seen[text], packet
            count += 1
    except DataError:
        raise
    except Exception as error:  # a damaged container raises whatever its bytes lead to
        if isinstance(error, OSError) and error.errno is not None:
            raise  # no fault of the packet
        what = f"packet {count} cannot be read ({type(error).__name__}: {error}): damaged, or the file ends early"
        if "codec" in str(error):
            raise MissingError(what, where, "install what reads the codec") from error
        raise DataError(what, where, "fetch it again") from error


def _check_head(container: Container, where: str) -> None:
    """Check the first bytes of a member of an archive; those of a file are checked."""
    if container.place:
        check_magic(container.stream.read(len(MAGIC) + 2), where)
        container.stream.seek(0)


@dataclass
class _Gathered:
    """Rows on their way to a block: values by column, packets, reasons of rows that are none."""

    rule: PacketRule
    columns: tuple[str, ...]
    first: int = 0
    n_in: int = 0
    types: dict[str, pa.DataType] = field(default_factory=dict)
    values: dict[str, list[Any]] = field(default_factory=dict)
    number: list[int] = field(default_factory=list)
    packet: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.values = {name: [] for name in self.columns}

    def add(self, schema: PacketSchema, packet: dict[str, Any], place: str, rows: int) -> Iterator[Block]:
        """Take the records of a packet; yield a block whenever one is full."""
        self.types = joined_types(self.types, schema)
        for name in self.rule.records:
            held = packet[name]
            if held is None and name == self.rule.records[0]:
                self.refuse(f"no_{name}")
            for record in held if isinstance(held, list) else [] if held is None else [held]:
                self._take(record, place)
                if self.n_in >= rows:
                    yield self.block()

    def refuse(self, reason: str) -> None:
        """Count a row that is none."""
        self.n_in += 1
        self.refused[reason] += 1

    def _take(self, record: dict[str, Any] | None, place: str) -> None:
        rule = self.rule
        if record is None or (rule.needs and record.get(rule.needs) is None):
            self.refuse("upper_limit")
        elif rule.withdrawn and record.get(rule.withdrawn) is not None:
            self.refuse("withdrawn")
        else:
            for name, values in self.values.items():
                values.append(record.get(name))
            self.number.append(self.first + self.n_in)
            self.packet.append(place)
            self.n_in += 1

    def block(self) -> Block:
        """Return the block of the rows so far, and begin the next."""
        arrays = {name: pa.array(values, self.types.get(name, pa.null())) for name, values in self.values.items()}
        block = Block(pa.table(arrays), np.array(self.number, dtype=np.int64), self.n_in,
                      refused=dict(self.refused), packet=self.packet)  # fmt: skip
        self.first += self.n_in
        self.n_in, self.number, self.packet, self.refused = 0, [], [], Counter()
        self.values = {name: [] for name in self.columns}
        return block
