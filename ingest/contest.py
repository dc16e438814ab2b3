"""Who goes to which object: the association of components, image after image, in compiled code.

Inside one image the pairs of detection and object, ranked by separation, then det_id, then object_id, are taken
greedily. Both sides of a pair agree with that one ranking, so the greedy matching is the only stable one, and
proposals find it without listing the pairs: a detection proposes to the nearest object that would have it, an object
keeps the best proposal, whoever is put out proposes again.

All compiled functions are in this one module, because numba's cache sees a change of this file, not of one that it
calls. The working rows of a component are records in few arrays: each array handed to a compiled function costs the
counting of a reference, and with an array for every column the whole took 1,060 ns a detection instead of 200.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from skydb.sky.vectors import direction

MORE_OBJECTS = 1
"""Blend bit: more than one object lay within the radius of the detection."""
MORE_DETECTIONS = 2
"""Blend bit: more than one detection of the image lay within the radius of the object; or the nearest was lost."""

_GRID_FROM = 24
"""Objects of a component from which on a grid finds neighbours; from 8 to 64 crowded fields cost the same."""

_ID_BITS = 30
"""Bits of an order-29 pixel number below its order-14 pixel, which an id never leaves."""

_SMALLEST_SIDE = 1e-6
"""Chord: finer grids would number more than 2**21 cells along an axis."""

_DETECTION = np.dtype(
    [
        ("x", "f8"), ("y", "f8"), ("z", "f8"), ("limit", "f8"), ("epoch", "f8"), ("survey", "u8"),
        ("number", "i8"), ("image", "i8"), ("pixel", "i8"), ("first", "i8"), ("chosen", "i8"),
        ("chord2", "f8"), ("blend", "i8"),
    ],
    align=True,
)  # fmt: skip
"""A detection of the component: unit vector; what its image allows; its number; first choice and choice so far."""

_OBJECT = np.dtype(
    [
        ("x", "f8"), ("y", "f8"), ("z", "f8"), ("vx", "f8"), ("vy", "f8"), ("vz", "f8"), ("epoch", "f8"),
        ("moves", "i8"), ("roams", "i8"), ("source", "i8"), ("key", "i8"), ("held", "u8"),
        ("image", "i8"), ("near", "i8"), ("holder", "i8"), ("holder_chord2", "f8"),
        ("following", "i8"), ("cell", "i8"), ("x_grid", "f8"), ("y_grid", "f8"), ("z_grid", "f8"),
    ],
    align=True,
)  # fmt: skip
"""An object of the component: unit vector at an epoch and motion per year; `source` is a known object m or, as -1 - d,
the founding detection d; `near`, `holder` count and name detections of `image` only; its place in a bucket of the grid.
"""

_CANDIDATE = np.dtype([("object", "i8"), ("chord2", "f8")], align=True)

Records = NDArray[np.void]
Vector = tuple[float, float, float]


class Detections(NamedTuple):
    """Detections (N,): position (deg), place of the image in the order, number in the image, founding pixel, epoch."""

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    rank: NDArray[np.int64]
    det_id: NDArray[np.int64]
    pixel: NDArray[np.int64]
    epoch: NDArray[np.float64]


class Known(NamedTuple):
    """Objects (M,) from before, and which of them each track point (T,) belongs to.

    `place` (M, 3) is the unit vector at `epoch`, `velocity` (M, 3) in radians per year; `roams` marks objects that the
    grid cannot hold, because they move by more than its slack.
    """

    of_track: NDArray[np.int64]
    object_id: NDArray[np.int64]
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]
    epoch: NDArray[np.float64]
    moves: NDArray[np.bool_]
    roams: NDArray[np.bool_]
    held: NDArray[np.uint64]


class Rules(NamedTuple):
    """Images (R,): squared chord of the radius, survey bit; and what holds for all.

    `founds`: a detection that remains founds an object; else it stays without.
    """

    limit: NDArray[np.float64]
    survey: NDArray[np.uint64]
    reach: float
    middle: float
    one_to_many: bool
    founds: bool


class Found(NamedTuple):
    """What each detection (N,) becomes: known object or founding detection (-1: not it), squared chord, blend bits.

    One that stays without an object has neither.
    """

    seed: NDArray[np.int64]
    founder: NDArray[np.int64]
    chord2: NDArray[np.float64]
    blend: NDArray[np.uint8]


class _Buckets(NamedTuple):
    """First object of each bucket, -1 where empty; the last bucket is looked through always. Side 0: no grid."""

    head: NDArray[np.int64]
    side: float


@njit(cache=True, nogil=True)
def sort_members(
    starts: NDArray[np.int64], members: NDArray[np.int32], n_tracks: int, rank: NDArray[np.int64],
    det_id: NDArray[np.int64],
) -> NDArray[np.int64]:  # fmt: skip
    """Sort the detections of each component by image and det_id, in place; return where they begin in each (K,).

    Members are points: track points of known objects first, then detections. These mostly come in order, so insertion
    does it; where many do not, merging.
    """
    begins = starts[:-1].copy()
    for component in range(len(begins)):
        begin, end = starts[component], starts[component + 1]
        while begin < end and members[begin] < n_tracks:
            begin += 1
        begins[component] = begin
        moves = 0
        for i in range(begin + 1, end):
            point, j = members[i], i
            image, number = rank[point - n_tracks], det_id[point - n_tracks]
            while j > begin:
                other = members[j - 1] - n_tracks
                if rank[other] < image or (rank[other] == image and det_id[other] <= number):
                    break
                members[j] = members[j - 1]
                j -= 1
            members[j] = point
            moves += i - j
            if moves > 32 * (end - begin):
                rows = members[begin:end] - n_tracks
                rows = rows[np.argsort(det_id[rows], kind="mergesort")]
                members[begin:end] = rows[np.argsort(rank[rows], kind="mergesort")] + n_tracks
                break
    return begins


@njit(cache=True, nogil=True)
def _moved(place: Vector, velocity: Vector, years: float) -> Vector:
    """Unit vector after some years of straight and uniform motion, brought back to the sphere."""
    x, y, z = place[0] + years * velocity[0], place[1] + years * velocity[1], place[2] + years * velocity[2]
    length = np.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@njit(cache=True, nogil=True)
def settle_simple(
    bounds: tuple[NDArray[np.int64], NDArray[np.int64]], members: NDArray[np.int32], wanted: NDArray[np.bool_],
    sky: Detections, known: Known, rules: Rules, found: Found,
) -> NDArray[np.bool_]:  # fmt: skip
    """Associate those wanted components all of whose detections, one per image, reach the only object; say which (K,).

    Exact by induction over the images: no detection founds, so the object stays the only one; nobody contests it.
    `bounds` are the starts of components and of their detections; members are sorted.
    """
    (starts, begins), n_tracks, settled = bounds, len(known.of_track), np.zeros(len(wanted), dtype=np.bool_)
    for component in range(len(wanted)):
        begin, end = begins[component], starts[component + 1]
        n_tracked = begin - starts[component]
        if not wanted[component] or n_tracked > 1:
            continue
        seed, founder, previous = np.int64(-1), np.int64(-1), np.int64(-1)
        x, y, z, held, moves = 0.0, 0.0, 0.0, np.uint64(0), False
        if n_tracked == 1:
            seed = known.of_track[members[begin - 1]]
            x, y, z = known.place[seed, 0], known.place[seed, 1], known.place[seed, 2]
            held, moves = known.held[seed], known.moves[seed]
        settled[component] = True
        if n_tracked == 0 and not rules.founds:
            continue
        for i in range(begin, end):
            d = members[i] - n_tracks
            image = sky.rank[d]
            dx, dy, dz = direction(sky.ra[d], sky.dec[d])
            if seed < 0 and founder < 0:
                founder, x, y, z = d, dx, dy, dz
            if moves:
                years = sky.epoch[d] - known.epoch[seed]
                place, velocity = known.place[seed], known.velocity[seed]
                x, y, z = _moved((place[0], place[1], place[2]), (velocity[0], velocity[1], velocity[2]), years)
            chord2 = (x - dx) * (x - dx) + (y - dy) * (y - dy) + (z - dz) * (z - dz)
            is_beyond = d != founder and chord2 >= rules.limit[image]
            if image == previous or is_beyond or held & rules.survey[image]:
                settled[component] = False
                break
            found.seed[d], found.founder[d], found.chord2[d] = seed, founder, chord2
            held, previous = held | rules.survey[image], image
    return settled


@njit(cache=True, nogil=True)
def settle_contests(
    bounds: tuple[NDArray[np.int64], NDArray[np.int64]], members: NDArray[np.int32], wanted: NDArray[np.bool_],
    sky: Detections, known: Known, rules: Rules, found: Found,
) -> None:  # fmt: skip
    """Associate the wanted components, whatever they are, image after image."""
    (starts, begins), n_tracks, largest = bounds, len(known.of_track), 0
    for component in range(len(wanted)):
        if wanted[component]:
            largest = max(largest, starts[component + 1] - starts[component])
    group, objects = np.zeros(largest, dtype=_DETECTION), np.zeros(largest, dtype=_OBJECT)
    candidates = np.zeros(largest, dtype=_CANDIDATE)
    for component in range(len(wanted)):
        if not wanted[component]:
            continue
        begin, end = begins[component], starts[component + 1]
        n_objects = _load_objects(objects, members[starts[component] : begin], known, rules.middle)
        _load_detections(group, members[begin:end], n_tracks, sky, rules)
        how = (rules.reach, rules.one_to_many, rules.founds)
        _contest(group[: end - begin], objects, n_objects, candidates, how)
        for k in range(end - begin):
            detection, d = group[k], group[k]["number"]
            found.seed[d], found.founder[d], found.chord2[d], found.blend[d] = -1, -1, 0.0, detection["blend"]
            if detection["chosen"] >= 0:
                source, found.chord2[d] = objects[detection["chosen"]]["source"], detection["chord2"]
                found.seed[d], found.founder[d] = (source, -1) if source >= 0 else (-1, -1 - source)


@njit(cache=True, nogil=True)
def _load_objects(objects: Records, tracks: NDArray[np.int32], known: Known, middle: float) -> int:
    """Lay out the known objects of a component, each once, and return their number."""
    n = 0
    for track in tracks:
        seed = known.of_track[track]
        if n > 0 and objects[n - 1]["source"] == seed:
            continue
        _add_object(objects, n, seed, known.object_id[seed])
        o = objects[n]
        o["x"], o["y"], o["z"] = known.place[seed, 0], known.place[seed, 1], known.place[seed, 2]
        o["vx"], o["vy"], o["vz"] = known.velocity[seed, 0], known.velocity[seed, 1], known.velocity[seed, 2]
        o["epoch"], o["held"] = known.epoch[seed], known.held[seed]
        o["moves"], o["roams"] = known.moves[seed], known.roams[seed]
        o["x_grid"], o["y_grid"], o["z_grid"] = _place_at(objects, n, middle)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _add_object(objects: Records, n: int, source: int, key: int) -> None:
    o = objects[n]
    o["source"], o["key"], o["held"], o["image"] = source, key, 0, -1
    o["moves"], o["roams"] = 0, 0


@njit(cache=True, nogil=True)
def _load_detections(group: Records, members: NDArray[np.int32], n_tracks: int, sky: Detections, rules: Rules) -> None:
    for k in range(len(members)):
        d = members[k] - n_tracks
        image = sky.rank[d]
        group[k]["x"], group[k]["y"], group[k]["z"] = direction(sky.ra[d], sky.dec[d])
        group[k]["number"], group[k]["image"], group[k]["pixel"] = d, image, sky.pixel[d]
        group[k]["limit"], group[k]["epoch"] = rules.limit[image], sky.epoch[d]
        group[k]["survey"] = rules.survey[image]


@njit(cache=True, nogil=True)
def _place_at(objects: Records, n: int, epoch: float) -> Vector:
    """Unit vector towards an object at an epoch."""
    o = objects[n]
    if not o["moves"]:
        return o["x"], o["y"], o["z"]
    place: Vector = _moved((o["x"], o["y"], o["z"]), (o["vx"], o["vy"], o["vz"]), epoch - o["epoch"])
    return place


@njit(cache=True, nogil=True)
def _contest(
    group: Records, objects: Records, n_objects: int, candidates: Records, how: tuple[float, bool, bool]
) -> None:  # fmt: skip
    """Associate the detections of one component; `how`: the chord that a grid must reach, one to many, founds."""
    reach, one_to_many, founds = how
    buckets = _fill_buckets(objects, n_objects, 0.0, 1)
    ids = np.full(_power_of_two(2 * (len(group) + n_objects)), np.int64(-1))
    for o in range(n_objects):
        _claim(ids, objects[o]["key"])
    begin = 0
    while begin < len(group):
        end = begin + 1
        while end < len(group) and group[end]["image"] == group[begin]["image"]:
            end += 1
        if n_objects > _GRID_FROM and buckets.side == 0.0:
            side = max(2.02 * reach, _SMALLEST_SIDE)
            buckets = _fill_buckets(objects, n_objects, side, 2 * (len(group) + n_objects))
        image = group[begin:end]
        _choose(image, objects, n_objects, candidates, buckets)
        if end - begin > 1 and not one_to_many:
            _settle_rivals(image, objects, n_objects, candidates, buckets)
        n_after = _found_new(image, objects, n_objects, buckets, ids) if founds else n_objects
        if n_after > n_objects and end - begin > 1:
            for k in range(end - begin):
                _count_near(image, k, objects, (n_objects, n_after), candidates, buckets)
        for k in range(end - begin):
            if image[k]["chosen"] < 0:
                continue
            o = objects[image[k]["chosen"]]
            lost = image[k]["first"] >= 0 and image[k]["first"] != image[k]["chosen"]
            if lost or (o["image"] == image[k]["image"] and o["near"] > 1):
                image[k]["blend"] |= MORE_DETECTIONS
            o["held"] |= image[k]["survey"]
        n_objects, begin = n_after, end


@njit(cache=True, nogil=True)
def _fill_buckets(objects: Records, n_objects: int, side: float, wanted: int) -> _Buckets:
    buckets = _Buckets(np.full(_power_of_two(wanted) + 1, np.int64(-1)), side)
    for o in range(n_objects):
        _put(objects, o, buckets)
    return buckets


@njit(cache=True, nogil=True)
def _power_of_two(wanted: int) -> int:
    size = 1
    while size < wanted:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def _claim(ids: NDArray[np.int64], wish: np.int64) -> np.int64:
    """Enter an id, or the next free one inside its order-14 pixel, into a table of claimed ids (-1: empty)."""
    within = (np.int64(1) << _ID_BITS) - 1
    while True:
        slot = _bucket_of(wish, len(ids))
        while ids[slot] >= 0 and ids[slot] != wish:
            slot = (slot + 1) & (len(ids) - 1)
        if ids[slot] < 0:
            ids[slot] = wish
            return wish
        wish = (wish & ~within) | ((wish + 1) & within)


@njit(cache=True, nogil=True)
def _put(objects: Records, n: int, buckets: _Buckets) -> None:
    """Place an object in its bucket; without a grid, and if it roams, in the one that is looked through always."""
    o, n_buckets = objects[n], len(buckets.head) - 1
    o["cell"], bucket = -1, n_buckets
    if buckets.side > 0.0 and not o["roams"]:
        i, j, k = _grid_at(o["x_grid"], buckets), _grid_at(o["y_grid"], buckets), _grid_at(o["z_grid"], buckets)
        o["cell"] = _cell_number(np.int64(i), np.int64(j), np.int64(k))
        bucket = _bucket_of(o["cell"], n_buckets)
    o["following"] = buckets.head[bucket]
    buckets.head[bucket] = n


@njit(cache=True, nogil=True)
def _grid_at(coordinate: float, buckets: _Buckets) -> float:
    return (coordinate + 1.0) / buckets.side


@njit(cache=True, nogil=True)
def _cell_number(i: np.int64, j: np.int64, k: np.int64) -> np.int64:
    return ((i + 1) << 42) | ((j + 1) << 21) | (k + 1)


@njit(cache=True, nogil=True)
def _bucket_of(cell: np.int64, n_buckets: int) -> np.int64:
    """Bucket of a grid cell by multiplicative hashing; the number of buckets is a power of two."""
    scattered = (np.uint64(cell) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return np.int64(scattered) & (n_buckets - 1)


@njit(cache=True, nogil=True)
def _nearest_two(at: float) -> tuple[np.int64, np.int64]:
    """Grid index of a coordinate, and of the neighbour on its nearer side."""
    index = np.int64(at)
    return index, index + 1 if at - index >= 0.5 else index - 1


@njit(cache=True, nogil=True)
def _list_candidates(
    image: Records, k: int, objects: Records, span: tuple[int, int], candidates: Records, buckets: _Buckets
) -> int:
    """List the objects numbered in `span` to which detection k could go, and return their number.

    The side of a grid cell is twice the reach, so that two cells along each axis hold all that is within it.
    """
    d, n_buckets = image[k], len(buckets.head) - 1
    n: int = _list_bucket(image, k, objects, span, candidates, (np.int64(-1), buckets.head[n_buckets], 0))
    if buckets.side == 0.0:
        return n
    for i in _nearest_two(_grid_at(d["x"], buckets)):
        for j in _nearest_two(_grid_at(d["y"], buckets)):
            for m in _nearest_two(_grid_at(d["z"], buckets)):
                cell = _cell_number(i, j, m)
                bucket = (cell, buckets.head[_bucket_of(cell, n_buckets)], n)
                n = _list_bucket(image, k, objects, span, candidates, bucket)
    return n


@njit(cache=True, nogil=True)
def _list_bucket(
    image: Records, k: int, objects: Records, span: tuple[int, int], candidates: Records, bucket: tuple[int, int, int]
) -> int:
    """Add the candidates of one cell to a list; `bucket`: the cell, first object of its bucket, length of the list."""
    d, (cell, following, n) = image[k], bucket
    while following >= 0:
        o = objects[following]
        if span[0] <= following < span[1] and o["cell"] == cell and not o["held"] & d["survey"]:
            x, y, z = _place_at(objects, following, d["epoch"])
            x, y, z = x - d["x"], y - d["y"], z - d["z"]
            chord2 = x * x + y * y + z * z
            if chord2 < d["limit"]:
                candidates[n]["object"], candidates[n]["chord2"] = following, chord2
                n += 1
        following = o["following"]
    return n


@njit(cache=True, nogil=True)
def _count_near(
    image: Records, k: int, objects: Records, span: tuple[int, int], candidates: Records, buckets: _Buckets
) -> int:
    """List the candidates of detection k and count it near each of them."""
    n: int = _list_candidates(image, k, objects, span, candidates, buckets)
    for c in range(n):
        o = objects[candidates[c]["object"]]
        if o["image"] != image[k]["image"]:
            o["image"], o["near"], o["holder"] = image[k]["image"], 0, -1
        o["near"] += 1
    return n


@njit(cache=True, nogil=True)
def _nearest(objects: Records, candidates: Records, n: int, rival: int) -> int:
    """Place in the list of the nearest of n candidates, ties to the lower object_id; -1: none.

    With a rival k >= 0: of those only that would have detection k, rather than whom they hold.
    """
    best = -1
    for c in range(n):
        one, o = candidates[c], objects[candidates[c]["object"]]
        held_chord2 = o["holder_chord2"] if rival >= 0 and o["holder"] >= 0 else np.inf
        if held_chord2 < one["chord2"] or (held_chord2 == one["chord2"] and o["holder"] < rival):
            continue
        if best >= 0:
            other = candidates[best]
            if one["chord2"] > other["chord2"]:
                continue
            if one["chord2"] == other["chord2"] and o["key"] > objects[other["object"]]["key"]:
                continue
        best = c
    return best


@njit(cache=True, nogil=True)
def _choose(image: Records, objects: Records, n_objects: int, candidates: Records, buckets: _Buckets) -> None:
    """Let every detection of one image choose the nearest object, or -1 for none."""
    for k in range(len(image)):
        n = _count_near(image, k, objects, (0, n_objects), candidates, buckets)
        best = _nearest(objects, candidates, n, -1)
        image[k]["first"] = image[k]["chosen"] = candidates[best]["object"] if best >= 0 else -1
        image[k]["chord2"] = candidates[best]["chord2"] if best >= 0 else 0.0
        image[k]["blend"] = MORE_OBJECTS if n > 1 else 0


@njit(cache=True, nogil=True)
def _settle_rivals(image: Records, objects: Records, n_objects: int, candidates: Records, buckets: _Buckets) -> None:
    """Replace the choices of the detections of one image by the stable matching, in order of det_id."""
    for k in range(len(image)):
        proposing = k
        while proposing >= 0:
            n = _list_candidates(image, proposing, objects, (0, n_objects), candidates, buckets)
            best = _nearest(objects, candidates, n, proposing)
            if best < 0:
                image[proposing]["chosen"] = -1
                break
            o, chord2 = objects[candidates[best]["object"]], candidates[best]["chord2"]
            image[proposing]["chosen"], image[proposing]["chord2"] = candidates[best]["object"], chord2
            put_out = o["holder"]
            o["holder"], o["holder_chord2"] = proposing, chord2
            proposing = put_out


@njit(cache=True, nogil=True)
def _found_new(
    image: Records, objects: Records, n_objects: int, buckets: _Buckets, ids: NDArray[np.int64]
) -> int:
    """Found objects where detections of one image remain without, and return the number of objects then.

    Their keys are the ids that they will have, as far as this component alone decides.
    """
    n_after = n_objects
    for k in range(len(image)):
        d = image[k]
        if d["chosen"] < 0:
            _add_object(objects, n_after, -1 - d["number"], _claim(ids, d["pixel"]))
            o = objects[n_after]
            o["x"], o["y"], o["z"] = d["x"], d["y"], d["z"]
            o["x_grid"], o["y_grid"], o["z_grid"] = d["x"], d["y"], d["z"]
            _put(objects, n_after, buckets)
            d["chosen"], d["chord2"] = n_after, 0.0
            n_after += 1
    return n_after
