"""Runs, models and questions in a bucket."""

import json
import signal

import fake_bucket
import pytest
from launcher import ROOT, tiny
from runs import CLOCKS

from urlvr_jax.data import files
from urlvr_jax.models import folders
from urlvr_jax.runtime import bucket

pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'urlvr_jax[gcs]'")
TEXT = "process 7 on here, since then\n"


@pytest.fixture(name="there")
def there_fixture(monkeypatch, tmp_path):
    with fake_bucket.served() as there:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for name, value in there.environment().items():
            monkeypatch.setenv(name, value)
        import gcsfs

        gcsfs.GCSFileSystem.clear_instance_cache()
        yield there


def put(there, below, folder):
    for file in folder.rglob("*"):
        if file.is_file():
            there.objects[f"{below}/{file.relative_to(folder)}"] = (
                next(there.generations),
                file.read_bytes(),
            )


def test_a_model_folder_of_a_bucket_is_copied_once(there):
    source = ROOT / "urlvr_jax" / "lab" / "bases" / "untrained"
    put(there, "models/mine", source)
    copy = folders.resolve("gs://bucket/models/mine")
    assert copy.name == "mine" and folders.model_config(copy) == folders.model_config(source)
    stamps = {file: file.stat().st_mtime_ns for file in copy.iterdir()}
    there.objects["models/mine/config.json"] = next(there.generations), b"{}"
    del there.objects["models/mine/tokenizer.json"]
    assert folders.resolve("gs://bucket/models/mine") == copy
    assert (copy / "config.json").read_text() == "{}" and not (copy / "tokenizer.json").exists()
    same = [f for f in stamps if f.name not in ("config.json", "tokenizer.json") and f.suffix != ".from"]
    assert same and all(stamps[f] == f.stat().st_mtime_ns for f in same)


def test_questions_of_a_bucket_are_read_and_may_be_a_part_of_a_file(there):
    rows = "".join(json.dumps({"prompt": f"{i}+1?", "answer": str(i + 1)}) + "\n" for i in range(4))
    there.objects["q.jsonl"] = next(there.generations), rows.encode()
    assert len(files.read("gs://bucket/q.jsonl", {}).rows) == 4
    assert [row["answer"] for row in files.read("gs://bucket/q.jsonl[1:3]", {}).rows] == ["2", "3"]


@pytest.mark.parametrize("name", ["gs://bucket/none", "gs://bucket/none.jsonl"])
def test_what_is_not_in_the_bucket_is_named(there, name):
    with pytest.raises(bucket.BucketError, match=f"{name} does not exist"):
        bucket.copied(name)


def test_a_bucket_that_refuses_is_named(there):
    there.broken = True
    with pytest.raises(bucket.BucketError, match="gs://bucket/x cannot be reached .*may not"):
        bucket.copied("gs://bucket/x")


def mirrored(tmp_path, name, text=TEXT):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return bucket.Mirror("gs://bucket/run", folder, text)


def test_a_mirror_copies_what_changed_and_another_machine_goes_on_from_it(there, tmp_path):
    first = mirrored(tmp_path, "a")
    (tmp_path / "a" / "metrics.jsonl").write_text("1\n")
    (tmp_path / "a" / "completions").mkdir()
    (tmp_path / "a" / "completions" / "x.parquet").write_text("x")
    first.copy()
    generation = there.objects["run/completions/x.parquet"][0]
    (tmp_path / "a" / "metrics.jsonl").write_text("1\n2\n")
    assert first.close()
    assert there.texts("run/") == {"metrics.jsonl": b"1\n2\n", "completions/x.parquet": b"x"}
    assert there.objects["run/completions/x.parquet"][0] == generation
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("of another time")
    second = mirrored(tmp_path, "b", "process 8 on there, since now\n")
    assert not second.taken and (tmp_path / "b" / "metrics.jsonl").read_text() == "1\n2\n"
    assert not (tmp_path / "b" / "old").exists()
    (tmp_path / "b" / "completions" / "x.parquet").unlink()
    second.close()
    assert there.texts("run/") == {"metrics.jsonl": b"1\n2\n"}


def test_a_second_run_is_told_who_holds_the_bucket(there, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "BEAT", 0.05)
    first = mirrored(tmp_path, "a")
    second = mirrored(tmp_path, "b", "process 8 on there, since now\n")
    assert second.taken == TEXT.strip()
    assert second.close() and first.close() and there.texts("run/") == {}


def test_a_dead_run_holds_nothing(there, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bucket, "DEAD_AFTER", 0.2)
    there.objects["run/lock"] = next(there.generations), TEXT.encode()
    second = mirrored(tmp_path, "b", "process 8 on there, since now\n")
    assert not second.taken and second.close()
    assert "was held by process 7 on here" in capsys.readouterr().err


def test_a_run_of_this_machine_in_another_cache_is_asked_for_signs_of_life(there, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "BEAT", 0.05)
    first = mirrored(tmp_path, "a")
    second = mirrored(tmp_path, "b", TEXT.replace("7", "8"))
    assert second.taken == TEXT.strip()
    first.close()


def test_a_run_whose_bucket_was_taken_over_writes_no_more_and_says_so(there, tmp_path, capsys):
    mirror = mirrored(tmp_path, "a")
    (tmp_path / "a" / "x").write_text("x")
    there.objects["run/lock"] = next(there.generations), b"process 8 on there, since now\n"
    assert not mirror.close() and there.texts("run/x") == {}
    assert "another run holds it: process 8 on there" in capsys.readouterr().err
    assert there.objects["run/lock"][1].startswith(b"process 8")


def test_what_is_written_to_a_bucket_is_there(there):
    assert bucket.is_empty("gs://bucket/out")
    bucket.write("gs://bucket/out/x.json", "{}")
    assert not bucket.is_empty("gs://bucket/out") and there.texts("out/") == {"x.json": b"{}"}


def test_a_bucket_that_fails_later_is_said_once_and_tried_again(there, tmp_path, capsys):
    mirror = mirrored(tmp_path, "a")
    (tmp_path / "a" / "x").write_text("x")
    there.broken = True
    mirror.copy()
    mirror.copy()
    assert capsys.readouterr().err.count("cannot be written") == 1
    there.broken = False
    assert mirror.close() and there.texts("run/") == {"x": b"x"}


@pytest.mark.slow
def test_a_run_in_a_bucket_is_the_run_on_a_disk_and_goes_on_after_a_kill(there, launcher, tmp_path):
    options = {"eval.every": 0, "log.completions_every": 0}
    env = there.environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    asked = tiny("gs://bucket/run", options)
    call = launcher.start(asked, env=env)
    call.wait_for(lambda: "run/checkpoints/2/commit_success.txt" in there.objects)
    call.kill(signal.SIGKILL)
    call.wait()
    done = launcher.run(asked, env=env)
    assert done.status == 0, done.err
    assert "gs://bucket/run: " in done.out and "run/lock" not in there.objects
    disk = launcher.run(tiny(tmp_path / "disk", options))
    assert disk.status == 0, disk.err
    lines = [json.loads(line) for line in there.texts("run/")["metrics.jsonl"].splitlines()]
    same = lambda line: {k: v for k, v in line.items() if not k.startswith(CLOCKS)}
    alone = [json.loads(line) for line in (tmp_path / "disk" / "metrics.jsonl").read_text().splitlines()]
    assert [same(line) for line in lines] == [same(line) for line in alone]
    out = launcher.run(["export", "--model", "gs://bucket/run", "--out", "gs://bucket/exported"], env=env)
    assert out.status == 0, out.err
    exported = launcher.run(
        ["export", "--model", str(tmp_path / "disk"), "--out", str(tmp_path / "exported")]
    )
    assert exported.status == 0
    weights = there.texts("exported/")["model.safetensors"]
    assert weights == (tmp_path / "exported" / "model.safetensors").read_bytes()
