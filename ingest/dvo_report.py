"""What an import of a DVO database says about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .dvo_grouping import Grouping
from .report import AddstarReport


@dataclass(frozen=True)
class DvoReport:
    """What became of a DVO database.

    `ingest` counts its measurements as those of one file; `n_photcodes` are new. The image table speaks of
    `n_images_said` images with `n_detections_said` detections: DVO's own measurements of them that are not there, such
    as those of a region that was lost, are missed nowhere else. `grouping` is None where it was not asked for.
    """

    ingest: AddstarReport
    n_photcodes: int
    n_images_said: int = 0
    n_detections_said: int = 0
    grouping: Grouping | None = None

    @property
    def complete(self) -> bool:
        """Whether the database now holds the DVO database."""
        return self.ingest.complete

    @property
    def exit_code(self) -> int:
        """What `skydb import-dvo` ends with."""
        return self.ingest.exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        return self.ingest.as_dict() | {
            "n_photcodes": self.n_photcodes, "n_images_said": self.n_images_said,
            "n_detections_said": self.n_detections_said,
            "grouping": None if self.grouping is None else asdict(self.grouping),
        }  # fmt: skip

    def text(self) -> str:
        """Return the report for people."""
        lines = [self.ingest.text(), f"photcodes that are new: {self.n_photcodes}"]
        if self.complete:
            lines.append(
                f"DVO's image table: {self.n_images_said} images with {self.n_detections_said} detections"
            )
        if self.grouping is not None:
            lines.append(f"DVO's objects: {self.grouping.n_objects}, of which {self.grouping.n_same} hold the same"
                         " measurements here")  # fmt: skip
        return "\n".join(lines)
