"""What bringing rows of a declared table says about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..report import FileReport


@dataclass(frozen=True)
class RowsFileReport(FileReport):
    """What became of one file; `unused` are its columns that the table does not declare."""

    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowsReport:
    """What one call did: `n_matched` counts the rows that were stored; `snapshot` is the newest one afterwards."""

    table: str
    files: tuple[RowsFileReport, ...]
    snapshot: int

    @property
    def complete(self) -> bool:
        """Whether the database now holds every file of the call."""
        return all(f.status != "failed" for f in self.files)

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0, or the largest of the failed files' codes."""
        return max((f.exit_code for f in self.files), default=0)

    def count(self, name: str) -> int:
        """Return the sum of one of the files' counts, such as "n_in"."""
        return sum(getattr(f, name) for f in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        counts = {name: self.count(name) for name in ("n_in", "n_matched", "n_rejected", "n_nulled")}
        files = [{k: v for k, v in asdict(f).items() if k not in ("n_images", "n_new", "n_measurements")}
                 for f in self.files]  # fmt: skip
        return {"table": self.table, "snapshot": self.snapshot, "complete": self.complete, **counts, "files": files}

    def text(self) -> str:
        """Return the report for people."""
        by_status = {s: sum(f.status == s for f in self.files) for s in ("ingested", "known", "failed")}
        lines = [
            f"{by_status['ingested']} files ingested, {by_status['known']} known already, {by_status['failed']} failed;"
            f" snapshot {self.snapshot}",
            f"rows in {self.count('n_in')} = stored {self.count('n_matched')} + rejected {self.count('n_rejected')}",
        ]
        for file in self.files:
            if file.reasons:
                why = ", ".join(f"{reason} {count}" for reason, count in sorted(file.reasons.items()))
                lines.append(f"rejected of {file.file}: {why}")
            if file.unused:
                lines.append(f"not declared, and not stored, of {file.file}: {', '.join(file.unused)}")
            if file.error:
                lines.append(f"failed: {file.error}")
        if self.count("n_nulled"):
            lines.append(f"values that became NULL: {self.count('n_nulled')}")
        return "\n".join(lines)
