"""The angle between two positions: one formula for all who need it.

It is scalar code in one fixed order of operations: a point gets the same answer in whatever array it comes, and the
SQL functions, which repeat the formula, agree with it. `arc_kernels` compiles it for many points.
"""

from __future__ import annotations

import math

DEGREE = math.pi / 180.0


def separation_deg(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Angle between two positions, degrees."""
    turn = abs(ra1 - ra2) % 360.0
    half_turn = min(turn, 360.0 - turn) * DEGREE / 2.0
    near, far = math.sin((dec1 - dec2) * DEGREE / 2.0), math.sin((dec1 + dec2) * DEGREE / 2.0)
    parallels = math.cos(dec1 * DEGREE) * math.cos(dec2 * DEGREE)
    along, across = math.sin(half_turn), math.cos(half_turn)
    apart = near * near + parallels * (along * along)
    opposite = far * far + parallels * (across * across)
    return 2.0 * math.atan2(math.sqrt(apart), math.sqrt(opposite)) * (180.0 / math.pi)
