"""What an ingest says about itself: per file, and as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from .faults import Fault


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    `status` is "ingested", "known" (its content is in the database already, nothing changed) or "failed" (nothing of
    it was kept; `error` says why, `exit_code` who has to act: 2 the caller, such as for a file that is not there, 3
    whoever made it, 4 nobody, and `fault` what is to blame, see `faults.Fault`, None: not told). For an ingested
    file n_in = n_matched + n_new + n_rejected + n_there; `n_there` counts rows of images that are there already, where
    the others of the file had been deleted. `companions` are rows of declared tables that came with the measurements:
    by table how many the file has ("in"), were "stored", and why others not. `quarantined` is where a file that failed
    was moved to; `n_replaced` counts images that took the place of others.
    """

    file: str
    status: str
    n_images: int = 0
    n_in: int = 0
    n_matched: int = 0
    n_new: int = 0
    n_rejected: int = 0
    n_measurements: int = 0
    n_nulled: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    exit_code: int = 0
    n_there: int = 0
    companions: dict[str, dict[str, int]] = field(default_factory=dict)
    quarantined: str | None = None
    n_replaced: int = 0
    fault: Fault | None = None


@dataclass(frozen=True)
class AddstarReport:
    """What one call of addstar did.

    `snapshot` is the newest snapshot afterwards; `seconds` the time spent in each step. Of a `dry_run` the files say
    what would have become of them.
    """

    files: tuple[FileReport, ...]
    snapshot: int
    seconds: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def n_ingested(self) -> int:
        """Files that came in with this call."""
        return len(self.with_status("ingested"))

    @property
    def n_known(self) -> int:
        """Files that were in the database already."""
        return len(self.with_status("known"))

    @property
    def n_failed(self) -> int:
        """Files of which nothing was kept."""
        return len(self.with_status("failed"))

    @property
    def complete(self) -> bool:
        """Whether the database now holds every file of the call."""
        return self.n_failed == 0

    @property
    def exit_code(self) -> int:
        """What `skydb addstar` ends with: 0, or the largest of the failed files' codes."""
        return max((f.exit_code for f in self.files), default=0)

    def count(self, name: str) -> int:
        """Return the sum of one of the files' counts, such as "n_in"."""
        return sum(getattr(f, name) for f in self.files)

    def with_status(self, status: str) -> tuple[FileReport, ...]:
        """Return the files of one status."""
        return tuple(f for f in self.files if f.status == status)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        names = ("n_images", "n_in", "n_matched", "n_new", "n_rejected", "n_there", "n_measurements", "n_nulled")
        return {
            "snapshot": self.snapshot,
            "complete": self.complete,
            **({"dry_run": True} if self.dry_run else {}),
            **{name: getattr(self, name) for name in ("n_ingested", "n_known", "n_failed")},
            **{name: self.count(name) for name in names},
            "seconds": {k: round(v, 3) for k, v in self.seconds.items()},
            "files": [asdict(f) for f in self.files],
        }

    def _companions(self) -> dict[str, Counter[str]]:
        """Return the counts of rows of declared tables, by table."""
        found: dict[str, Counter[str]] = {}
        for file in self.files:
            for name, counts in file.companions.items():
                found.setdefault(name, Counter()).update(counts)
        return found

    @property
    def _there(self) -> str:
        there = self.count("n_there")
        return f" + there already {there}" if there else ""

    def text(self) -> str:
        """Return the report for people: a sentence, the counts, and every file that was rejected."""
        ingested = "would be ingested" if self.dry_run else "ingested"
        lines = [
            *(["dry run: nothing is stored"] if self.dry_run else []),
            f"{self.n_ingested} files {ingested}, {self.n_known} known already, {self.n_failed} failed;"
            f" snapshot {self.snapshot}",
            f"{self.count('n_images')} images; rows in {self.count('n_in')} = matched {self.count('n_matched')}"
            f" + new {self.count('n_new')} + rejected {self.count('n_rejected')}{self._there};"
            f" {self.count('n_measurements')} measurements",
        ]
        reasons: dict[str, int] = {}
        for file in self.files:
            for reason, count in file.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        if reasons:
            lines.append("rejected: " + ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())))
        if self.count("n_nulled"):
            lines.append(f"values that became NULL: {self.count('n_nulled')}")
        if self.count("n_replaced"):
            lines.append(f"images that replaced others: {self.count('n_replaced')}")
        lines += [f"with them, {name}: {_sum_of(counts)}" for name, counts in self._companions().items()]
        lines.append("seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in self.seconds.items()))
        lines += [f"failed: {_with_name(f)}" for f in self.with_status("failed")]
        return "\n".join(lines)


def _sum_of(counts: Counter[str]) -> str:
    """Return what became of rows of a declared table."""
    others = "".join(f" + {reason} {n}" for reason, n in sorted(counts.items()) if reason not in ("in", "stored") and n)
    return f"rows in {counts['in']} = stored {counts['stored']}{others}"


def _with_name(failed: FileReport) -> str:
    """Return the error of a file, which mostly names it already."""
    error = failed.error or ""
    aside = f" (set aside as {failed.quarantined})" if failed.quarantined else ""
    return (error if failed.file in error else f"{failed.file}: {error}") + aside
