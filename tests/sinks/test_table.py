"""The key `log.sinks`: what is refused, and what it does not change."""

import importlib.util

import pytest

from urlvr_jax import config, validation
from urlvr_jax.config import ConfigError, config_hash
from urlvr_jax.runtime.lines import Lines, read_lines
from urlvr_jax.runtime.workdir import Workdir
from urlvr_jax.sinks import table
from urlvr_jax.sinks.folder import Tail


def configured(*names):
    c = config.default()
    c.log.sinks = names
    return c


@pytest.mark.parametrize(
    "names, says",
    [
        (("wand",), r"log\.sinks = \('wand',\): 'wand' is none of \['tensorboard', 'trackio', 'wandb'\]"),
        (({},), r"log\.sinks = \(.*\): .* is none of"),
        (("wandb", "wandb"), r"log\.sinks = \('wandb', 'wandb'\) names one twice"),
    ],
)
def test_a_name_that_is_none_or_stands_twice_is_refused(names, says):
    with pytest.raises(ConfigError, match=says):
        validation.validate(configured(*names), 1)
    validation.validate(configured(*table.SINKS), 1)


def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"log\.sinks = \('wandb',\).*pip install 'urlvr_jax\[wandb\]'"):
        table.require(("wandb",))
    table.require(())


def test_a_run_keeps_its_name_and_goes_on_with_other_sinks(tmp_path):
    flat = config.flat(configured("wandb"))
    assert config_hash(flat) == config_hash(config.flat(config.default()))
    Workdir(tmp_path, configured("wandb"), {}).release()
    Workdir(tmp_path, configured("tensorboard", "trackio"), {}).release()
    Workdir(tmp_path, configured(), {}).release()


def test_a_warning_is_said_and_kept_with_the_step_under_way(tmp_path, capsys):
    workdir = Workdir(tmp_path, configured(), {})
    workdir.truncate_after(-1)
    workdir.warn("before")
    workdir.metrics.write({"step": 4})
    workdir.warn("later", "kind")
    assert capsys.readouterr().err == "warning: before\nwarning: later\n"
    lines = read_lines(tmp_path / "warnings.jsonl")
    assert lines == [
        {"step": 0, "kind": "before", "text": "before"},
        {"step": 5, "kind": "kind", "text": "later"},
    ]
    workdir.truncate_after(4)
    assert read_lines(tmp_path / "warnings.jsonl") == lines[:1]


def test_a_warning_about_a_full_disk_is_said_though_it_cannot_be_kept(tmp_path, capsys, monkeypatch):
    workdir = Workdir(tmp_path, configured(), {})
    workdir.warn("first")

    def torn(self, line):
        with open(self.file, "a") as file:
            file.write('{"step": 1, "te')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lines, "write", torn)
    workdir.warn("the disk is full")
    assert capsys.readouterr().err == "warning: first\nwarning: the disk is full\n"
    assert len(read_lines(tmp_path / "warnings.jsonl")) == 1
    assert (tmp_path / "warnings.jsonl").read_text().endswith("\n")


def test_a_file_is_read_as_it_grows_and_a_torn_line_is_left_out(tmp_path):
    file = tmp_path / "lines.jsonl"
    tail = Tail(file)
    assert tail.new() == []
    file.write_text('{"step": 1}\n{"st')
    assert tail.new() == [{"step": 1}]
    with open(file, "a") as out:
        out.write('ep": 2}\n{"torn\n3\n')
    assert tail.new() == [{"step": 2}] and tail.new() == []
    tail.close()
