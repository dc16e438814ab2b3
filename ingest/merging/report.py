"""What a merge did, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    `source` is the other database as it was named, `source_snapshot` what was read of it, `snapshot` the new one here,
    None where there was nothing to bring. Of images that both databases have, `n_images_known`, the measurements here
    stay; `n_images_completed` of them were here in part, and got more. `n_matched` objects joined one that is here,
    `n_new` came as new ones, `n_aliases` ids of the other database stand for another id here. `declared` counts rows by
    table.

    Where not all was asked for, `n_images_left_out` images of the other database are not here, and `n_images_in_part`
    are here without some of its measurements; `left_out` counts measurements of both by reason: "photcode", "outside"
    (the region), "no_match". `n_objects_unmatched` brought nothing, because they would have been new.
    """

    source: str
    source_snapshot: int
    snapshot: int | None
    n_images: int = 0
    n_images_known: int = 0
    n_images_completed: int = 0
    n_images_in_part: int = 0
    n_images_left_out: int = 0
    n_measurements: int = 0
    n_matched: int = 0
    n_new: int = 0
    n_objects_unmatched: int = 0
    n_aliases: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        return {**asdict(self), "seconds": {k: round(v, 3) for k, v in self.seconds.items()}}

    def text(self) -> str:
        """Return the report for people."""
        if self.snapshot is None:
            known = f"all {self.n_images_known} images are here"
            if self.n_images_left_out or self.n_images_in_part:
                known = f"of what was asked for, {self.n_images_known} images are here"
            return "\n".join([f"{self.source}: nothing to bring, {known}", *self._left_out()])
        lines = [
            f"{self.source}, snapshot {self.source_snapshot}: {self.n_images} images came, {self.n_images_known} were"
            f" here{self._completed()}; snapshot {self.snapshot}",
            f"{self.n_measurements} measurements; of the objects {self.n_matched} joined one, {self.n_new} are new;"
            f" {self.n_aliases} ids stand for another here",
            *self._left_out(),
        ]
        if self.declared:
            lines.append("declared tables: " + ", ".join(f"{name} {n}" for name, n in sorted(self.declared.items())))
        lines.append("seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in self.seconds.items()))
        return "\n".join(lines)

    def _completed(self) -> str:
        return f" ({self.n_images_completed} in part, and got more)" if self.n_images_completed else ""

    def _left_out(self) -> list[str]:
        """Return a line about what was not to come, if there is any."""
        if not (self.left_out or self.n_images_left_out or self.n_images_in_part):
            return []
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.left_out.items()))
        return [
            f"left out: {self.n_images_left_out} images, and measurements of {self.n_images_in_part} that are here in"
            f" part; measurements: {reasons or 'none'}"
        ]
