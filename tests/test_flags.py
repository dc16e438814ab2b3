"""Flag bits: DVO's values, one bit each, every one explained."""

from __future__ import annotations

import pickle

import pytest

from skydb.flags import (
    FLAGS_OF_COLUMN,
    ORIGINS,
    Flags,
    ImageFlags,
    MeasurementFlags,
    ObjectBandFlags,
    ObjectFlags,
    PhotFlags,
    decode,
    flag_rows,
    origin_of,
)
from skydb.schema.tables import TABLES

CLASSES = list(FLAGS_OF_COLUMN.values())


@pytest.mark.parametrize("flags", CLASSES)
def test_every_flag_is_one_bit_of_32_with_a_meaning(flags: type[Flags]) -> None:
    rows = list(flag_rows(flags))
    values = [value for _, value, _ in rows]
    assert values == sorted(set(values))
    assert all(value.bit_count() == 1 and value < 2**32 for value in values)
    assert all(meaning and not meaning.endswith(".") for _, _, meaning in rows)


@pytest.mark.parametrize("flags", CLASSES)
def test_decode_names_all_bits_and_encodes_back(flags: type[Flags]) -> None:
    names = decode(flags, 0xFFFFFFFF)
    assert len(names) == 32
    assert sum(int(name, 16) if name.startswith("0x") else flags[name] for name in names) == 0xFFFFFFFF
    assert decode(flags, 0) == []


@pytest.mark.parametrize("flags", CLASSES)
def test_every_flag_has_one_origin(flags: type[Flags]) -> None:
    bits = [int(value) for value in ORIGINS[flags].values()]
    assert sum(value.bit_count() for value in bits) == sum(bits).bit_count()
    for _, bit, _ in flag_rows(flags):
        assert ORIGINS[flags].get(origin_of(flags, bit), ~flags(0)) & bit


def test_flag_columns_are_declared() -> None:
    for column in FLAGS_OF_COLUMN:
        table, name = column.split(".")
        assert TABLES[table][name].type == "uint32"


def test_masks_of_dvo_hold() -> None:
    chip = [name for name in decode(ObjectBandFlags, 0x01003F1F) if not name.startswith("0x")]
    assert chip[0] == "STAR_FEW"
    assert "OBJ_EXT" in chip
    assert int(ObjectFlags.BAD_STACK) == 0x40000000
    assert int(MeasurementFlags.PHOTOM_PSF) == 0x100000
    assert int(ImageFlags.PHOTOM_UBERCAL) == 0x200
    assert int(PhotFlags.OFF_CHIP) == 0x80000000


def test_flags_survive_a_worker() -> None:
    both = ImageFlags.PHOTOM_POOR | ImageFlags.PHOTOM_FEW
    assert pickle.loads(pickle.dumps(both)) == both
