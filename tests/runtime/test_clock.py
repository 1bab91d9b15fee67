"""Time is measured by clocks that only go forward."""

import ast
import pathlib

import urlvr_jax

PACKAGE = pathlib.Path(urlvr_jax.__file__).parent


def test_no_duration_or_deadline_is_taken_from_the_clock_on_the_wall():
    """time.time may jump, and a difference of it may be negative; dates are for names and records alone."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("time", "time"), ("time", "time_ns")}, file
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {"time", "time_ns"} & {alias.name for alias in node.names}, file
