"""Full disks, damaged checkpoints, and places that cannot hold what is asked of them: one line each."""

import os
import shutil
import subprocess

import pytest
from launcher import tiny
from runs import errors_of, metrics_of

from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.paths import PathError, require_plain
from urlvr_jax.verbs.flags import place_text

QUIET = {"eval.every": 0, "log.completions_every": 0}


# ---- what Orbax would say at length -------------------------------------------------------------------


@pytest.mark.parametrize("left", [b"", b'{"array_metadatas": [{"array_meta'], ids=["empty", "torn"])
def test_damaged_metadata_of_a_checkpoint_falls_back_in_one_line(finished, launcher, tmp_path, left):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for file in (run / "checkpoints" / "6").rglob("array_metadatas/*"):
        file.write_bytes(left)
    call = launcher.run(tiny(run))
    assert call.status == 0, call.err
    assert len(errors_of(call)) == 1, call.err
    (line,) = errors_of(call)
    assert line.startswith("warning: checkpoint 6 is unreadable")
    assert metrics_of(run)[-1]["step"] == 6


@pytest.fixture
def disk(tmp_path):
    """A file system with room for one checkpoint."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1600k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_in_one_line_a_checkpoint_and_summed_up(launcher, disk):
    call = launcher.run(tiny(disk / "run", QUIET))
    assert call.status == 1, call.err
    lines = errors_of(call)
    assert len(lines) == 3, call.err
    for step, line in zip((4, 6), lines, strict=False):
        want = f"checkpoint {step} could not be written: No space left on device; latest good: 2"
        assert line == f"warning: {want}"
    assert (
        "2 checkpoints could not be written, the latest good is 2" in lines[-1] and "--workdir" in lines[-1]
    )


def test_an_export_to_a_full_disk_is_one_line_and_leaves_no_folder(finished, launcher, disk):
    (disk / "ballast").write_bytes(b"x" * 1_300_000)
    call = launcher.run(["export", "--model", str(finished[0]), "--out", str(disk / "out")])
    assert call.status == 2, call.err
    (line,) = call.err.splitlines()
    assert str(disk / "out") in line and "No space left" in line and "choose another place" in line
    assert not (disk / "out").exists()


# ---- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param("gs::x", marks=pytest.mark.slow), "a ü\n😀'b\"c$HOME;{}#%2F"]
)
def test_a_run_lives_in_a_folder_of_an_odd_name(launcher, tmp_path, name):
    run = tmp_path / name
    for steps in (2, 3):
        call = launcher.run(tiny(run, QUIET | {"steps": steps}))
        assert call.status == 0, call.err
    assert "from step 2" in call.out
    call = launcher.run(["evaluate", "--model", str(run), "--out", str(run / "out.json")])
    assert call.status == 0, call.err
    call = launcher.run(["export", "--model", str(run), "--out", str(run / "exported")])
    assert call.status == 0, call.err


@pytest.mark.parametrize("name", ["a[b]", "a*b", "a?b", "a\\b", "gs:", "gs::", "a\udcffb"])
def test_a_name_that_orbax_cannot_read_back_is_refused_before_anything_is_written(launcher, tmp_path, name):
    run = tmp_path / name / "run"
    with pytest.raises(PathError, match="cannot be read back"):
        require_plain(run)
    with pytest.raises(PathError):
        Checkpoints(run, 2, read_only=True)
    if "\udcff" not in name:  # no argument of the tests' launcher
        call = launcher.run(tiny(run, QUIET))
        assert call.status == 2 and len(call.err.splitlines()) == 1, call.err
    assert not (tmp_path / name).exists()


def test_the_name_that_counts_is_the_one_behind_a_link(tmp_path):
    (tmp_path / "a[b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a[b")
    with pytest.raises(PathError):
        require_plain(tmp_path / "link" / "run")
    require_plain(tmp_path / "plain")


# ---- places -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """{what is wrong: such a place}"""
    folder = tmp_path_factory.mktemp("places")
    (folder / "file").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    return {
        "File exists": folder / "file",
        "Not a directory": folder / "file" / "below",
        "File name too long": folder / ("x" * 300),
        "Too many levels of symbolic links": folder / "loop" / "x",
        "No such file or directory": "/proc/nowhere",
    }


WRONG = (
    "File exists", "Not a directory", "File name too long", "Too many levels of symbolic links",
    "No such file or directory",
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_place_that_cannot_be_written_is_one_line_with_the_remedy(finished, launcher, places, wrong):
    place = str(places[wrong])
    calls = [tiny(place, QUIET)]
    if wrong != "File exists":  # a file is what these write
        calls += [["countdown", "--count", "1", "--out", place]]
        calls += [["export", "--model", str(finished[0]), "--out", place]]
    for arguments in calls:
        call = launcher.run(arguments)
        assert call.status == 2, call.err
        (line,) = call.err.splitlines()
        assert line.startswith(f"error: {place}") and wrong in line and "choose" in line


def test_a_folder_without_the_right_to_write_is_named():
    refused = PermissionError(13, os.strerror(13), "/somewhere")
    assert place_text(refused).startswith("/somewhere: Permission denied: choose another place")
    assert place_text(OSError(28, os.strerror(28))).startswith("a file: No space left on device: free some")
    assert place_text(OSError(5, os.strerror(5), "/somewhere")) == "", (
        "a broken device is no user's mistake"
    )
    assert place_text(FileNotFoundError(2, os.strerror(2))) == "", (
        "and an error without a place keeps its trace"
    )
