"""What is saved comes back bit for bit; what is broken, torn or does not fit is said and survived."""

import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from urlvr_jax.learning.step import TrainState
from urlvr_jax.runtime import sharding
from urlvr_jax.runtime.checkpoint import BeforeOnset, CheckpointError, Checkpoints

MESH = sharding.make_mesh(2, 2, 2)
OPTIMIZER = optax.adamw(1e-3)
SHAPES = {"embed": (64, 16), "layers.0.attention.q.kernel": (16, 32), "final_norm.scale": (16,)}


def layout():
    shapes = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in SHAPES.items()}
    state = jax.eval_shape(lambda p: TrainState(p, OPTIMIZER.init(p), jnp.int32(0)), shapes)
    return state, sharding.tree_layout(MESH, state, sharding.training_layout(MESH, shapes))


ABSTRACT, LAYOUT = layout()


def make_state(seed):
    """A sharded state with every number random."""
    rng = np.random.default_rng(seed)
    draw = lambda s: rng.standard_normal(s.shape).astype(np.float32).astype(s.dtype)
    host = jax.tree.map(draw, ABSTRACT)
    return sharding.put(host._replace(updates=np.int32(seed)), LAYOUT)


def same(a, b):
    """Bit-identical, leaf by leaf, in the same layout."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.sharding == y.sharding
        and x.dtype == y.dtype
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


def saved(folder, scores, keep=2):
    """A folder with one finished save a step; state of step s is make_state(s)."""
    checkpoints = Checkpoints(folder, keep)
    for step, score in scores.items():
        checkpoints.save(step, make_state(step), score)
        checkpoints.wait()
    checkpoints.close()
    assert checkpoints.failed == 0


def restored(folder, keep=2):
    checkpoints = Checkpoints(folder, keep)
    out = checkpoints.restore(ABSTRACT, LAYOUT)
    checkpoints.close()
    return out


def on_disk(folder):
    return sorted(int(p.name) for p in pathlib.Path(folder).iterdir() if p.name.isdigit())


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    saved(tmp_path, {3: 0.5})
    state, step = restored(tmp_path)
    assert step == 3
    assert isinstance(state, TrainState)
    assert same(state, make_state(3))
    assert same(jax.tree.map(lambda x: x, state.opt_state), make_state(3).opt_state)


def test_a_folder_without_checkpoints_restores_nothing(tmp_path):
    assert restored(tmp_path / "new") is None


def test_saving_copies_before_the_state_is_donated(tmp_path):
    step_fn = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    checkpoints = Checkpoints(tmp_path, 2)
    for step in range(1, 6):
        state = make_state(step)
        checkpoints.save(step, state, None)
        for _ in range(3):
            state = step_fn(state)
        jax.block_until_ready(state)
    checkpoints.close()
    state, step = restored(tmp_path)
    assert step == 5 and same(state, make_state(5))


def test_the_latest_is_restored_and_the_best_is_kept(tmp_path):
    saved(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5, 4: 0.4, 5: 0.3})
    assert on_disk(tmp_path) == [2, 4, 5]
    state, step = restored(tmp_path)
    assert step == 5 and same(state, make_state(5))


def test_the_best_is_kept_across_a_resume(tmp_path):
    saved(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5})
    saved(tmp_path, {4: 0.4, 5: 0.3, 6: None})
    assert on_disk(tmp_path) == [2, 5, 6]
    saved(tmp_path, {7: 0.95, 8: 0.1, 9: None, 10: None})
    assert on_disk(tmp_path) == [7, 9, 10]


def test_checkpoints_without_a_score_are_kept_by_age(tmp_path):
    saved(tmp_path, dict.fromkeys(range(1, 7)))
    assert {5, 6} <= set(on_disk(tmp_path)) and len(on_disk(tmp_path)) <= 3
    saved(tmp_path, {7: None, 8: 0.1})
    assert {7, 8} <= set(on_disk(tmp_path))


# ---- broken checkpoints ---------------------------------------------------------------------


def files(folder):
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate_largest(folder):
    os.truncate(files(folder)[-1], files(folder)[-1].stat().st_size // 2)


def empty_largest(folder):
    os.truncate(files(folder)[-1], 0)


def delete_largest(folder):
    files(folder)[-1].unlink()


def delete_manifests(folder):
    for file in folder.rglob("manifest.ocdbt"):
        file.unlink()


def empty_every_file(folder):
    for file in files(folder):
        os.truncate(file, 0)


def delete_every_file(folder):
    for file in files(folder):
        file.unlink()


def tear_the_score(folder):
    os.truncate(next(folder.rglob("metrics/metrics")), 4)
    truncate_largest(folder)


def delete_all_inside(folder):
    for inside in folder.iterdir():
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()


DAMAGE = (
    truncate_largest,
    empty_largest,
    delete_largest,
    delete_manifests,
    empty_every_file,
    delete_every_file,
    tear_the_score,
    delete_all_inside,
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_a_broken_checkpoint_falls_back_to_the_one_before_and_the_run_goes_on(tmp_path, damage, capsys):
    saved(tmp_path, {2: None, 4: None})
    damage(tmp_path / "4")
    checkpoints = Checkpoints(tmp_path, 2)
    state, step = checkpoints.restore(ABSTRACT, LAYOUT)
    assert step == 2 and same(state, make_state(2))
    assert "checkpoint 4 is unreadable" in capsys.readouterr().err
    for step in (4, 6):
        checkpoints.save(step, make_state(10 + step), None)
        checkpoints.wait()
    checkpoints.close()
    assert checkpoints.failed == 0
    state, step = restored(tmp_path)
    assert step == 6 and same(state, make_state(16))
    shutil.rmtree(tmp_path / "6")
    state, step = restored(tmp_path)
    assert step == 4 and same(state, make_state(14))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of memory")])
def test_too_little_memory_does_not_set_a_good_checkpoint_aside(tmp_path, monkeypatch, error):
    saved(tmp_path, {1: 0.1, 2: 0.2})
    checkpoints = Checkpoints(tmp_path, 2)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(checkpoints.manager, "restore", fail)
    with pytest.raises(type(error)):
        checkpoints.restore(ABSTRACT, LAYOUT)
    checkpoints.close()
    assert restored(tmp_path)[1] == 2


def test_the_same_step_may_break_twice(tmp_path):
    for _ in range(2):
        saved(tmp_path, {2: None, 4: None} if not (tmp_path / "2").exists() else {4: None})
        truncate_largest(tmp_path / "4")
        state, step = restored(tmp_path)
        assert step == 2 and same(state, make_state(2))


def test_two_broken_checkpoints_fall_back_by_two(tmp_path, capsys):
    saved(tmp_path, {1: None, 2: None, 3: None}, keep=3)
    truncate_largest(tmp_path / "3")
    delete_largest(tmp_path / "2")
    state, step = restored(tmp_path, keep=3)
    assert step == 1 and same(state, make_state(1))
    said = capsys.readouterr().err
    assert "checkpoint 3 is unreadable" in said and "checkpoint 2 is unreadable" in said


def test_none_readable_is_an_error_naming_them_and_nothing_is_thrown_away(tmp_path):
    saved(tmp_path, {2: None, 4: None})
    for step in (2, 4):
        truncate_largest(tmp_path / str(step))
    for _ in range(2):
        with pytest.raises(CheckpointError) as error:
            restored(tmp_path)
        assert "[4, 2]" in str(error.value) and str(tmp_path) in str(error.value)
        assert on_disk(tmp_path) == [2, 4]


def test_a_temporary_folder_of_a_killed_save_is_ignored_and_removed(tmp_path):
    saved(tmp_path, {2: None, 4: None})
    leftover = tmp_path / "6.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "4", leftover)
    (tmp_path / "6.orbax-checkpoint-tmp-1700000000").mkdir()
    state, step = restored(tmp_path)
    assert step == 4 and same(state, make_state(4))
    assert not list(tmp_path.glob("*tmp*"))


# ---- a full disk ----------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder):
    """A file system of a few MB; yields (folder, fill, free)."""
    disk, ballast = folder / "disk", folder / "disk" / "ballast"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)

    def fill():
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as out:
            while True:
                out.write(b"x" * 4096)

    try:
        yield disk, fill, ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@contextlib.contextmanager
def limited_files(folder):
    """Without the right to mount: no file of this process may grow past 600 bytes while 'full'."""
    (folder / "disk").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    free = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    try:
        yield folder / "disk", fill, free
    finally:
        free()


def may_mount(folder):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        target = folder / "probe"
        target.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(target)], check=True, capture_output=True)
        subprocess.run(["umount", str(target)], check=True)
        return True
    return False


@pytest.mark.parametrize("kind", ["mounted if possible", "limited"])
def test_a_full_disk_is_said_and_counted_and_survived(tmp_path, kind, capsys):
    disk_of = small_disk if kind != "limited" and may_mount(tmp_path) else limited_files
    with disk_of(tmp_path) as (disk, fill, free):
        checkpoints = Checkpoints(disk / "checkpoints", 2)
        checkpoints.save(1, make_state(1), 0.5)
        checkpoints.wait()
        assert checkpoints.failed == 0
        fill()
        for step in (2, 3):
            checkpoints.save(step, make_state(step), 0.5)
            checkpoints.wait()
        free()
        said = capsys.readouterr().err
        assert checkpoints.failed == 2, said
        assert said.count("could not be written") == 2 and "latest good: 1" in said
        assert on_disk(checkpoints.folder) == [1]
        state, step = checkpoints.restore(ABSTRACT, LAYOUT)
        assert step == 1 and same(state, make_state(1))
        for step in (4, 5):
            checkpoints.save(step, make_state(step), 0.5)
            checkpoints.wait()
        checkpoints.close()
        assert checkpoints.failed == 2
        state, step = restored(disk / "checkpoints")
        assert step == 5 and same(state, make_state(5))
        assert not list(checkpoints.folder.glob("*tmp*"))


def test_a_full_disk_is_noticed_at_the_next_save_without_waiting(tmp_path, capsys):
    with limited_files(tmp_path) as (disk, fill, free):
        checkpoints = Checkpoints(disk, 2)
        checkpoints.save(1, make_state(1), None)
        checkpoints.wait()
        fill()
        checkpoints.save(2, make_state(2), None)
        while checkpoints.manager.is_saving_in_progress():
            time.sleep(0.01)
        free()
        checkpoints.save(3, make_state(3), None)
        checkpoints.close()
        assert checkpoints.failed == 1
        assert on_disk(disk) == [1, 3], "the save that noticed the failure is itself not lost"
    assert "could not be written" in capsys.readouterr().err


# ---- the clock ------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_loses_no_checkpoint_and_hangs_nothing(tmp_path, monkeypatch):
    true = time.time
    saved(tmp_path, {1: 0.1, 2: 0.2})
    monkeypatch.setattr(time, "time", lambda: true() - 1e8)
    saved(tmp_path, {3: 0.15, 4: 0.05})
    assert on_disk(tmp_path) == [2, 3, 4], "the latest by step, not by date, and the best"
    state, step = restored(tmp_path)
    assert step == 4 and same(state, make_state(4))


@pytest.mark.parametrize("onset, kept", [(None, [20, 30, 90]), (40, [30, 90]), (25, [20, 90]), (5, [90])])
def test_the_checkpoint_before_an_onset_is_kept_and_until_it_is_known_all_that_may_be_it(onset, kept):
    """Of saves at 10, 20, 30, 90: 60 steps back from the latest is 30."""
    policy = BeforeOnset()
    steps = [types.SimpleNamespace(step=s) for s in (10, 20, 30, 90)]
    found = lambda: [
        s.step for s, keep in zip(steps, policy.should_preserve(steps, context=None), strict=True) if keep
    ]
    assert found() == []  # a run without a watch
    alarm = None if onset is None else types.SimpleNamespace(onset=onset)
    policy.early = types.SimpleNamespace(on=True, alarm=alarm)
    assert found() == [s for s in kept if onset is None or s < onset]
    policy.early.on = False
    assert found() == []


def test_the_checkpoint_before_an_onset_survives_and_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1)
    early = types.SimpleNamespace(on=True, alarm=None)
    checkpoints.keep_before(early)
    alarm = types.SimpleNamespace(onset=25, detector="shorter")
    for step in (10, 20, 30, 40):
        early.alarm = alarm if step >= 30 else None
        checkpoints.save(step, make_state(step), -step)
        checkpoints.wait()
    assert on_disk(tmp_path) == [10, 20, 40]  # the best by its score, the one before the onset, the latest
    assert "checkpoint 20 is from before it" in checkpoints.text_before(alarm)
    assert "no checkpoint is from before it" in checkpoints.text_before(
        alarm.__class__(onset=5, detector="cut")
    )
    checkpoints.close()
