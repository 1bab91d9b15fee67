"""The file for SkyPilot is one that SkyPilot reads, and starts the command of the documents.

SkyPilot is no dependency: in an environment that has it and pytest alone,
`pytest --noconftest -c /dev/null tests/test_cloud.py`.
"""

import pathlib
import warnings

import pytest

FILE = pathlib.Path(__file__).resolve().parents[1] / "experiments" / "cloud" / "sky.yaml"


def test_skypilot_reads_the_file_and_each_node_joins_the_run():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = pytest.importorskip("sky")
    task = sky.Task.from_yaml(str(FILE))
    assert task.num_nodes == 1 and task.envs["CONFIG"] == "experiments/majority.py"
    (resources,) = task.resources
    assert resources.accelerators == {"H100": 8}
    assert "python -m urlvr_jax.main" in task.run and "/runs" in {*task.file_mounts, *task.storage_mounts}
    for flag, name in (
        ("coordinator", "first"),
        ("processes", "SKYPILOT_NUM_NODES"),
        ("process_id", "SKYPILOT_NODE_RANK"),
    ):
        assert f"--{flag} " in task.run and f"${name}" in task.run
