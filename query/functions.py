"""The SQL functions of the sky, as DuckDB macros: no Python runs while a query does.

They repeat the formulae of `skydb.sky` operation by operation, so that a region that prunes cells and the predicate
that is then evaluated agree. Measured on one core: `in_cone` 1 ns a row beyond its declinations and 0.12 µs
within them, `in_box` 17 ns, `in_polygon` 1.3 µs with 3 corners and 1.7 µs with 10, after 30 ms to plan it.
"""

from __future__ import annotations

from collections.abc import Collection

from skydb.errors import UsageError
from skydb.sky.arcs import DEC_MARGIN_DEG

TYPE_CHECKING = False
if TYPE_CHECKING:
    import duckdb

SKY_FUNCTIONS = {
    "in_cone": "in_cone(ra, dec, ra0, dec0, radius)",
    "in_box": "in_box(ra, dec, ra1, ra2, dec1, dec2)",
    "in_polygon": "in_polygon(ra, dec, [[ra1, dec1], [ra2, dec2], [ra3, dec3], …])",
    "separation": "separation(ra1, dec1, ra2, dec2)",
}
"""How each function is called; all arguments and results in degrees."""

_PARTS = {
    "_sky_square(x)": "x * x",
    "_sky_turn(ra)": """
        CASE WHEN ra >= 0 AND ra < 360 THEN ra WHEN ra % 360 < 0 THEN ra % 360 + 360 ELSE ra % 360 END""",
    "_sky_half_turn(ra1, ra2)": """
        radians(least(abs(ra1 - ra2) % 360, 360 - abs(ra1 - ra2) % 360)) / 2""",
    "_sky_parallels(dec1, dec2)": "cos(radians(dec1)) * cos(radians(dec2))",
    "_sky_haversine(ra1, dec1, ra2, dec2)": """
        _sky_square(sin(radians(dec1 - dec2) / 2))
        + _sky_parallels(dec1, dec2) * _sky_square(sin(_sky_half_turn(ra1, ra2)))""",
    "_sky_supplement(ra1, dec1, ra2, dec2)": """
        _sky_square(sin(radians(dec1 + dec2) / 2))
        + _sky_parallels(dec1, dec2) * _sky_square(cos(_sky_half_turn(ra1, ra2)))""",
    "_sky_within_ra(ra, west, east)": """
        CASE WHEN west <= east THEN ra BETWEEN west AND east
             ELSE ra BETWEEN west AND 360 OR ra BETWEEN 0 AND east END""",
    "_sky_vector(ra, dec)": """{
        'x': cos(radians(dec)) * cos(radians(ra % 360)),
        'y': cos(radians(dec)) * sin(radians(ra % 360)),
        'z': sin(radians(dec))}""",
    "_sky_dot(u, v)": "u.x * v.x + u.y * v.y + u.z * v.z",
    "_sky_cross(u, v)": """
        {'x': u.y * v.z - u.z * v.y, 'y': u.z * v.x - u.x * v.z, 'z': u.x * v.y - u.y * v.x}""",
    "_sky_sum(u, v)": "{'x': u.x + v.x, 'y': u.y + v.y, 'z': u.z + v.z}",
    "_sky_change(u, v)": "{'x': (v.x - u.x) / 2, 'y': (v.y - u.y) / 2, 'z': (v.z - u.z) / 2}",
    "_sky_corners(vertices)": "list_transform(vertices, lambda v: _sky_vector(v[1], v[2]))",
    "_sky_total(corners)": """{
        'x': list_sum(list_transform(corners, lambda v: v.x)),
        'y': list_sum(list_transform(corners, lambda v: v.y)),
        'z': list_sum(list_transform(corners, lambda v: v.z))}""",
    "_sky_level(pole)": """
        CASE WHEN abs(pole.z) < 0.9 * sqrt(_sky_dot(pole, pole)) THEN {'x': -pole.y, 'y': pole.x, 'z': 0::DOUBLE}
             ELSE {'x': 0::DOUBLE, 'y': -pole.z, 'z': pole.y} END""",
    "_sky_edge(a, b, pole, level, up)": """{
        'a_up': _sky_dot(a, up), 'a_across': _sky_dot(a, level), 'a_pole': _sky_dot(a, pole),
        'b_up': _sky_dot(b, up), 'b_across': _sky_dot(b, level), 'b_pole': _sky_dot(b, pole),
        'normal': _sky_cross(_sky_sum(a, b), _sky_change(a, b))}""",
    "_sky_fault(corners, pole)": """
        CASE WHEN len(corners) < 3 OR len(list_filter(corners, lambda v: v.x IS NULL OR v.z IS NULL)) > 0
             THEN 'in_polygon: give 3 or more vertices, each as [ra, dec]'
             WHEN list_min(list_transform(corners, lambda v: _sky_dot(v, pole))) > 0 THEN NULL
             ELSE 'in_polygon: not all vertices lie within 90 degrees of the pole; '
                  'give one that does as fourth argument, [ra, dec], or divide the polygon' END""",
    # Nested one-element list_transform calls bind a value once: written out, the constants took seconds to plan.
    # No error() in here: it would keep DuckDB from computing the outline once, before the first row.
    "_sky_outline(corners, pole)": """
        list_transform([pole], lambda p:
            list_transform([_sky_level(p)], lambda level:
                list_transform([_sky_cross(p, level)], lambda up: {
                    'fault': _sky_fault(corners, p), 'pole': p, 'level': level, 'up': up,
                    'least': list_min(list_transform(corners, lambda v: _sky_dot(v, p))) * (1 - 1e-12),
                    'edges': list_transform(list_zip(corners, list_append(corners[2:], corners[1])),
                                            lambda e: _sky_edge(e[1], e[2], p, level, up))})[1])[1])[1]""",
    "_sky_outline_about_mean(vertices)": """
        list_transform([_sky_corners(vertices)], lambda c: _sky_outline(c, _sky_total(c)))[1]""",
    "_sky_crosses(e, q)": """
        (e.a_up * q.depth > q.height * e.a_pole) <> (e.b_up * q.depth > q.height * e.b_pole)
        AND CASE WHEN (e.a_across * q.depth > q.across * e.a_pole) = (e.b_across * q.depth > q.across * e.b_pole)
                 THEN e.a_across * q.depth > q.across * e.a_pole
                 ELSE (_sky_dot(e.normal, q.point) > 0) = (e.b_up * q.depth > q.height * e.b_pole) END""",
    "_sky_odd(q)": """
        CASE WHEN q.fault IS NOT NULL THEN error(q.fault)
             WHEN q.depth IS NULL THEN NULL
             WHEN q.depth >= q.least AND isfinite(q.depth)
             THEN len(list_filter(q.edges, lambda e: _sky_crosses(e, q))) % 2 = 1
             ELSE FALSE END""",
    "_sky_inside(ra, dec, outline)": """
        list_transform([{'point': _sky_vector(ra, dec), 'outline': outline}], lambda s:
            list_transform([{'fault': s.outline.fault, 'least': s.outline.least,
                             'point': s.point, 'edges': s.outline.edges,
                             'depth': _sky_dot(s.point, s.outline.pole),
                             'height': _sky_dot(s.point, s.outline.up),
                             'across': _sky_dot(s.point, s.outline.level)}], lambda q: _sky_odd(q))[1])[1]""",
    "_sky_pairs(numbers)": """
        list_transform(range(1, len(numbers) + 1, 2), lambda i: [numbers[i], numbers[i + 1]])""",
}

_MACROS = {
    "separation": (
        """(ra1 DOUBLE, dec1 DOUBLE, ra2 DOUBLE, dec2 DOUBLE) AS
        degrees(2 * atan2(sqrt(_sky_haversine(ra1, dec1, ra2, dec2)), sqrt(_sky_supplement(ra1, dec1, ra2, dec2))))""",
    ),
    # The test in declination goes first: it is cheap, and DuckDB skips row groups by it.
    "in_cone": (
        f"""(ra DOUBLE, dec DOUBLE, ra0 DOUBLE, dec0 DOUBLE, radius DOUBLE) AS
        dec >= dec0 - radius - {DEC_MARGIN_DEG} AND dec <= dec0 + radius + {DEC_MARGIN_DEG}
        AND separation(ra, dec, ra0, dec0) <= radius""",
    ),
    "in_box": (
        """(ra DOUBLE, dec DOUBLE, ra1 DOUBLE, ra2 DOUBLE, dec1 DOUBLE, dec2 DOUBLE) AS
        dec >= dec1 AND dec <= dec2
        AND CASE WHEN ra2 - ra1 >= 360 THEN isfinite(ra)
                 ELSE _sky_within_ra(_sky_turn(ra), _sky_turn(ra1), _sky_turn(ra2)) END""",
    ),
    "in_polygon": (
        "(ra DOUBLE, dec DOUBLE, vertices DOUBLE[][]) AS _sky_inside(ra, dec, _sky_outline_about_mean(vertices))",
        """(ra DOUBLE, dec DOUBLE, vertices DOUBLE[]) AS
        _sky_inside(ra, dec, _sky_outline_about_mean(_sky_pairs(vertices)))""",
        """(ra DOUBLE, dec DOUBLE, vertices DOUBLE[][], pole DOUBLE[]) AS
        _sky_inside(ra, dec, _sky_outline(_sky_corners(vertices), _sky_vector(pole[1], pole[2])))""",
        """(ra DOUBLE, dec DOUBLE, vertices DOUBLE[], pole DOUBLE[]) AS
        _sky_inside(ra, dec, _sky_outline(_sky_corners(_sky_pairs(vertices)), _sky_vector(pole[1], pole[2])))""",
    ),
}


def register(
    con: duckdb.DuckDBPyConnection, names: Collection[str] = tuple(SKY_FUNCTIONS), *, temporary: bool = True
) -> None:
    """Define sky functions on a connection.

    Parameters
    ----------
    names
        Which, besides `separation`; defining `in_polygon` takes 90 ms, all others 20.
    temporary
        For this connection alone, which a read-only database takes too; else for all connections to its database.

    Raises
    ------
    UsageError
        A DuckDB too old for macros with typed parameters.

    Examples
    --------
    >>> import duckdb
    >>> con = duckdb.connect()
    >>> register(con)
    >>> con.execute("SELECT separation(359.5, 0, 0.5, 0), in_cone(10, 20, 10, 21, 1)").fetchall()
    [(1.0, True)]
    """
    import duckdb

    create = f"CREATE OR REPLACE {'TEMP ' * temporary}MACRO"
    wanted = {name: forms for name, forms in _MACROS.items() if name in ("separation", *names)}
    parts = [f"{create} {call} AS {body}" for call, body in _PARTS.items()]
    macros = [f"{create} {name} {', '.join(forms)}" for name, forms in wanted.items()]
    try:
        for statement in (*parts, *macros):
            con.execute(statement)
    except duckdb.ParserException as error:
        raise UsageError(
            f"DuckDB {duckdb.__version__} does not know typed macros", "sky functions", "install a newer duckdb"
        ) from error
