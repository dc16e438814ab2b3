"""The page about DVO databases, followed to the letter."""

import re
from pathlib import Path

import pytest

from skydb.ingest.readers.dvo.blocks import REASONS
from tests.ingest.dvo_surveys import make_survey
from tests.test_docs import PROJECT, run_page

PAGE = PROJECT / "docs" / "how-to" / "import-dvo.md"


def test_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_survey(tmp_path / "files").dvo.write(tmp_path / "catdir")
    monkeypatch.chdir(tmp_path)
    run_page(PAGE)


def test_page_names_every_reason() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text().split("## Rows that are rejected")[1].split("\n## ")[0]))
    assert named == {*REASONS[1:], "off_chip"}
