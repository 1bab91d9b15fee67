"""Time is measured by clocks that only go forward."""

import ast
import pathlib

import urlvr_jax
from urlvr_jax.runtime import clock

PACKAGE = pathlib.Path(urlvr_jax.__file__).parent


def test_a_steps_seconds_are_without_those_of_its_evaluation(monkeypatch):
    now = iter((100.0, 103.0, 110.0, 110.5, 120.0, 123.0, 124.0))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    one = clock.Clock()
    one.lap("rollout")
    one.lap("eval")
    assert one.metrics() == {"timing_s/rollout": 3.0, "timing_s/eval": 7.0, "timing_s/step": 3.5}
    other = clock.Clock()
    other.lap("rollout")
    assert other.metrics() == {"timing_s/rollout": 3.0, "timing_s/step": 4.0}


def test_no_duration_or_deadline_is_taken_from_the_clock_on_the_wall():
    """time.time may jump, and a difference of it may be negative; dates are for names and records alone."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("time", "time"), ("time", "time_ns")}, file
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert not {"time", "time_ns"} & {alias.name for alias in node.names}, file
