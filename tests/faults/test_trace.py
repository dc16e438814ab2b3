"""The model of a disk: what a power cut may take, and what it may not."""

from __future__ import annotations

from itertools import count

from .trace import Call, Recording


def recording(*calls: tuple[str, ...], rows: bytes = b"rows") -> Recording:
    """What so many calls did: name, path, and the old path of a rename; all writes are the same."""
    ends = count(1)
    return Recording(
        Call(name, path, old[0] if old else ".", 0, rows if name == "write" else b"", next(ends))
        for name, path, *old in calls
    )


DURABLY = (("open", ".new"), ("write", ".new"), ("fsync", ".new"), ("rename", "file", ".new"), ("fsync", "."))


def states(made: Recording, cut: int) -> list[dict[str, bytes | None]]:
    """What may be left when everything, or one change, that is at risk is lost, or nothing; each once."""
    risk = made.at_risk(cut)
    left = [made.left(cut, lost) for lost in (risk, *([one] for one in risk), ())]
    return [state for number, state in enumerate(left) if state not in left[:number]]


def test_what_was_written_durably_is_at_no_risk() -> None:
    assert states(recording(*DURABLY), 5) == [{"file": b"rows"}]


def test_name_is_at_risk_until_its_folder_was_synced() -> None:
    assert states(recording(*DURABLY), 4) == [{}, {"file": b"rows"}, {".new": b"rows"}]


def test_content_that_was_not_synced_is_at_risk_whatever_its_name() -> None:
    hasty = recording(*DURABLY[:2], *DURABLY[3:])
    assert states(hasty, 4) == [{"file": b""}, {"file": b"rows"}]


def test_file_goes_with_its_folder() -> None:
    made = recording(("mkdir", "a"), ("open", "a/file"), ("write", "a/file"), ("fsync", "a/file"), ("fsync", "a"))
    assert states(made, 5) == [{}, {"a": None, "a/file": b"rows"}]


def test_file_that_was_removed_may_be_there_again() -> None:
    assert states(recording(*DURABLY, ("unlink", "file")), 6) == [{"file": b"rows"}, {}]


def test_second_name_of_a_file_stays_when_another_takes_the_first() -> None:
    made = recording(("open", "a"), ("write", "a"), ("link", "kept", "a"), ("open", "b"), ("rename", "a", "b"))
    assert made.left(5) == {"a": b"", "kept": b"rows"}
    assert made.left(5, [2]) == {"a": b""}


def test_folder_keeps_what_is_in_it_when_it_is_renamed() -> None:
    made = recording(("mkdir", "a"), ("open", "a/file"), ("rename", "b", "a"), ("write", "b/file"))
    assert made.left(4) == {"b": None, "b/file": b"rows"}
    assert made.left(4, [2]) == {"a": None, "a/file": b"rows"}
