"""The page of real surveys is a test: its commands run on the real data, and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_docs import PROJECT, run_page, write_page

pytestmark = pytest.mark.data

PAGE = PROJECT / "docs" / "how-to" / "real-surveys.md"
PICTURES = {"Light curves of candidates": ("candidate.png", "seasons.png")}
SLOW = {"The whole sky"}


def sections() -> dict[str, str]:
    """The sections of the page that have commands, by title."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.M)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if "```console" in text}


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.slow] if title in SLOW else []) for title in sections()]
)
def test_commands_print_what_the_page_shows(
    title: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(data_dir))
    run_page(write_page(tmp_path, sections()[title]))
    for picture in PICTURES.get(title, ()):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"


def test_every_set_of_the_table_has_a_section_that_uses_it() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M)
    assert len(named) == len(sections()) == 5
    assert all(sum(f"$DATA/{name}/" in text for text in sections().values()) == 1 for name in named)
