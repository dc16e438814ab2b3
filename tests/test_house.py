"""The habits of the house that no linter knows."""

from __future__ import annotations

import ast
import inspect
import io
import pickle
import re
import tokenize
from importlib import import_module
from pathlib import Path

import pytest

from skydb.errors import SkydbError
from tests.test_architecture import PROJECT, sources

P90_LIMIT = 40
EXCEPTION = re.compile(r"#\s*(noqa|type:\s*ignore)(\[[^\]]*\]|:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?(?P<rest>.*)")


def error_classes() -> list[type[SkydbError]]:
    """Every error class of the package, found by the names of its bases."""
    names, found, grown = {"SkydbError"}, {"skydb.errors.SkydbError": ("skydb.errors", "SkydbError")}, True
    while grown:
        grown = False
        for module, path in sources().items():
            for node in ast.walk(ast.parse(path.read_text())):
                bases = {ast.unparse(b).split(".")[-1] for b in node.bases} if isinstance(node, ast.ClassDef) else set()
                if bases & names and f"{module}.{node.name}" not in found:
                    found[f"{module}.{node.name}"] = (module, node.name)
                    names.add(node.name)
                    grown = True
    return [getattr(import_module(module), name) for module, name in found.values()]


def sample(parameter: inspect.Parameter) -> object:
    """Return a value for one argument of an error, by its annotation."""
    kinds = {"int": 7, "float": 0.5, "Path": Path("a.fits")}
    return kinds.get(str(parameter.annotation), parameter.name)


def own_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_error_comes_back_whole_from_a_worker(error: type[SkydbError]) -> None:
    raised = error(*(sample(p) for p in inspect.signature(error).parameters.values()))
    back = pickle.loads(pickle.dumps(raised))
    assert type(back) is error
    assert str(back) == str(raised) != ""
    assert vars(back) == vars(raised)


def test_every_lint_exception_has_its_reason_on_the_line() -> None:
    bare = []
    for path in [*sources().values(), *(PROJECT / "tests").rglob("*.py")]:
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            match = EXCEPTION.match(token.string) if token.type == tokenize.COMMENT else None
            if match and not match["rest"].strip(" #"):
                bare.append(f"{path.relative_to(PROJECT)}:{token.start[0]}: {token.string}")
    assert bare == []


def test_functions_are_short() -> None:
    lengths = sorted(
        own_length(node)
        for path in sources().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.9 * len(lengths))] < P90_LIMIT


def test_every_module_says_what_it_is_for() -> None:
    silent = [m for m, path in sources().items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
