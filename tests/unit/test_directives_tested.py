"""Every directive of the table (which test_config_table.py compares with nginx) has a test of its effect.

Such a test is marked ``@pytest.mark.directive("name", ...)``, wherever under tests/ it is.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from fastmail.config.directives import TABLE

TESTS = Path(__file__).parents[1]


def _marked() -> set[str]:
    """What the marks in the tests name."""
    return {name for path in TESTS.rglob("*.py") for name in _marks(ast.parse(path.read_bytes()))}


def _marks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "directive"
            and ast.unparse(node.func.value) == "pytest.mark"
        ):
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def test_every_directive_has_a_test() -> None:
    """If not: mark the test that fails when the directive has no effect."""
    assert set(TABLE) - _marked() == set()


def test_marks_name_directives() -> None:
    assert _marked() - set(TABLE) == set()
