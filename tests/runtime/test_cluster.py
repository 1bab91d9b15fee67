"""Which processes a run has, from flags and from what launchers set."""

import pytest

from urlvr_jax.errors import UserError
from urlvr_jax.runtime import cluster

SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "n[03-04]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_NODEID": "1",
}  # fmt: skip


def test_without_flags_or_launcher_a_process_is_alone():
    assert cluster.of_flags("", None, None) is None and cluster.of_flags("", 1, None) is None
    assert cluster.of_environment({}) is None
    assert cluster.of_environment(SLURM | {"SLURM_NTASKS": "1"}) is None
    assert cluster.of_environment({"TPU_WORKER_HOSTNAMES": "localhost"}) is None


@pytest.mark.parametrize(
    "given, said",
    [
        (("", 2, None), "--processes=2 needs --coordinator"),
        (("", None, 0), "--process_id=0 needs --coordinator"),
        (("a:1", None, 0), "needs --processes"),
        (("a:1", 2, None), "needs --process_id"),
        (("a", 2, 0), "give HOST:PORT"),
        (("a:0", 2, 0), "give HOST:PORT"),
        (("a:99999", 2, 0), "give HOST:PORT"),
        (("a:1", 2, 2), "--process_id=2 is not possible: give 0 to 1"),
        (("a:1", 0, 0), "--processes=0 is not possible"),
    ],
)
def test_half_of_the_flags_or_wrong_ones_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        cluster.of_flags(*given)


def test_slurm_tells_address_number_and_count():
    found = cluster.of_environment(SLURM)
    assert (found.coordinator, found.processes, found.process_id) == (f"n03:{61440 + 4711 % 4096}", 2, 1)
    assert found.local_gpus is None, "one task a node has all that there are"


def test_a_batch_script_outside_of_srun_is_no_run_of_several():
    assert cluster.of_environment({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}) is None


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("n1", "n1"), ("n1,n2", "n1"), ("n[1-2]", "n1"), ("n[007,009-012],m3", "n007"), ("a-b[01-15]", "a-b01"),
        ("rack[2-3]n,x", "rack2n"),
    ],
)  # fmt: skip
def test_the_first_host_of_slurms_list(hosts, first):
    assert cluster.first_host(hosts) == first


@pytest.mark.parametrize(
    "tasks, visible, on_node, local, own",
    [
        ("1(x2)", "0,1,2,3", "4", 0, None),  # a task a node has all
        ("4(x2)", "0,1,2,3", "4", 2, (2,)),  # all see all: one each
        ("2(x2)", "0,1,2,3", "4", 1, (2, 3)),  # or two
        ("4(x2)", "2", "4", 2, None),  # bound by --gpus-per-task: what it sees is its own
        ("4(x2)", "", "4", 3, (3,)),  # nothing is hidden, and Slurm says how many there are
        ("2(x2)", "", "", 1, None),  # no GPU
    ],
)
def test_a_task_of_slurm_takes_its_share_of_a_nodes_gpus(tasks, visible, on_node, local, own):
    given = SLURM | {"SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_LOCALID": str(local)}
    given |= {"CUDA_VISIBLE_DEVICES": visible, "SLURM_GPUS_ON_NODE": on_node}
    assert cluster.local_gpus(given) == own


def test_gpus_that_do_not_divide_over_a_nodes_tasks_are_refused():
    given = SLURM | {
        "SLURM_STEP_TASKS_PER_NODE": "3",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "SLURM_NODEID": "0",
    }
    with pytest.raises(UserError, match="4 GPUs a node do not divide over 3 tasks"):
        cluster.local_gpus(given)


def test_open_mpi_and_tpu_pods_are_left_to_jax():
    assert cluster.of_environment({"OMPI_COMM_WORLD_SIZE": "4"}).found_by_jax
    assert cluster.of_environment({"TPU_WORKER_HOSTNAMES": "a,b"}).found_by_jax
