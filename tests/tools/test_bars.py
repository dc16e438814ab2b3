"""Bars of progress."""

from __future__ import annotations

import io

from rich.console import Console

from skydb.tools.bars import drawn


def screen_after(*calls: tuple[str, int, int]) -> str:
    """What stands on the screen at the end."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)
    with drawn(console) as bars:
        for call in calls:
            bars.show(*call)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().split("\x1b[1A")[-1]


def test_bar_shows_done_all_rate_and_time_left() -> None:
    shown = screen_after(*(("read", done, 40) for done in range(1, 40)))
    assert "read" in shown
    assert "39/40" in shown
    assert "/s" in shown
    assert "left 0:00:0" in shown


def test_every_step_has_its_bar() -> None:
    shown = screen_after(("read", 2, 2), ("write", 1, 4))
    assert "2/2" in shown
    assert "1/4" in shown


def test_step_that_begins_anew_counts_anew() -> None:
    """The second batch of a long ingest: its rate and its time left are its own."""
    shown = screen_after(("read", 90, 90), ("read", 1, 50))
    assert "1/50" in shown
    assert "90/90" not in shown
