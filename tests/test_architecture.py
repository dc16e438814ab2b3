"""The arrows of the architecture: imports point down, there are no cycles, and `import skydb` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
VERB_FOLDERS = ("ingest", "calib", "query")
FOLDERS = ("skydb", *VERB_FOLDERS, "tools")

LAYERS = (
    {"errors", "arguments", "units", "flags"},
    {"sky"},
    {"schema"},
    {"kernels"},
    {"store", "parallel"},
    {"calibration"},
)
"""The packages inside skydb/, lowest first; a module may import its own layer and lower ones. What is not named
(database, fsck, refresh …) stands above them all."""

HEAVY = {"numpy", "scipy", "pyarrow", "duckdb", "astropy", "numba", "healpy", "sqlglot", "rich", "pandas", "matplotlib"}


def module_of(path: Path) -> str:
    """Dotted name of a source file, as it is imported."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    parts = parts if parts[0] == "skydb" else ("skydb", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    """Every module with its file, links not followed."""
    found = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")]
    return {module_of(p): p for p in found if p.resolve() == p}


def is_for_types(node: ast.AST) -> bool:
    """Say whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(module: str, *, at_run_time: bool = False) -> Iterator[str]:
    """Full names of the modules that a module imports anywhere; for type checking too, unless `at_run_time`."""
    package = module.split(".") if sources()[module].name == "__init__.py" else module.split(".")[:-1]
    tree = ast.parse(sources()[module].read_text())
    skipped = {id(n) for top in tree.body if at_run_time and is_for_types(top) for n in ast.walk(top)}
    for node in (n for n in ast.walk(tree) if id(n) not in skipped):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in sources() else base


def folder_of(module: str) -> str:
    """The top-level folder that a module of the package lies in."""
    second = [*module.split("."), ""][1]
    return second if second in FOLDERS else "skydb"


def layer_of(module: str) -> int:
    """How high a module of skydb/ stands."""
    part = [*module.split("."), ""][1]
    return next((i for i, layer in enumerate(LAYERS) if part in layer), len(LAYERS))


def edges(*, at_run_time: bool = False) -> list[tuple[str, str]]:
    """Every import of one module of the package by another, but for the table of verbs."""
    return [
        (module, target) for module in sources() if module != "skydb"
        for target in imports(module, at_run_time=at_run_time) if target in sources()
    ]  # fmt: skip


def test_imports_between_folders_point_down() -> None:
    def allowed(importer: str, imported: str) -> bool:
        return importer in (imported, "tools") or imported == "skydb"

    assert [e for e in edges() if not allowed(*map(folder_of, e))] == []


def test_imports_inside_the_store_point_down() -> None:
    inside = [(a, b) for a, b in edges() if folder_of(a) == folder_of(b) == "skydb" and b != "skydb"]
    assert [(a, b) for a, b in inside if layer_of(b) > layer_of(a)] == []


def test_package_imports_nothing_of_itself_until_asked() -> None:
    """But for what has to come before numba is imported."""
    assert {target for target in imports("skydb", at_run_time=True) if target in sources()} == {"skydb.caches"}
    assert [target for target in imports("skydb.caches") if target in sources()] == []


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for module, target in edges(at_run_time=True):
        graph.setdefault(module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_folders_are_imported_as_parts_of_skydb() -> None:
    bare = [(m, t) for m in sources() for t in imports(m) if t.split(".")[0] in FOLDERS[1:]]
    assert bare == []


def test_folder_imports_its_own_modules_relatively() -> None:
    absolute = []
    for module, path in sources().items():
        own = f"skydb.{folder_of(module)}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith(f"{own}."):
                absolute.append((module, node.module))
    assert absolute == []


def modules_after(*words: str) -> set[str]:
    """Top-level modules that a new process has loaded after a statement."""
    script = f"{'; '.join(words)}; import sys; print(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


def test_import_skydb_is_light() -> None:
    assert modules_after("import skydb", "dir(skydb)") & {*HEAVY, "click"} == set()


def test_help_is_light() -> None:
    assert modules_after("from skydb.tools.cli import main", "main(['--help'])") & HEAVY == set()


def test_every_verb_that_is_offered_is_there() -> None:
    import skydb

    assert all(callable(getattr(skydb, verb)) for verb in dir(skydb) if verb in skydb.VERBS)


def test_every_verb_that_is_offered_is_typed() -> None:
    import skydb

    blocks = [node for node in ast.parse(sources()["skydb"].read_text()).body if isinstance(node, ast.If)]
    typed = {node.name for block in blocks for node in ast.walk(block) if isinstance(node, ast.alias)}
    assert {verb for verb in dir(skydb) if verb in skydb.VERBS} == typed


def test_unknown_verb_is_no_attribute() -> None:
    import skydb

    with pytest.raises(AttributeError, match="'skydb' has no attribute 'addstars'"):
        _ = skydb.addstars
