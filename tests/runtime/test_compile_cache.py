"""Where compiled programs are kept, and what is said where they cannot be."""

import pathlib

import pytest
from launcher import tiny
from runs import errors_of

from urlvr_jax.runtime import compile_cache

SHORT = {"eval.every": 0, "log.completions_every": 0, "steps": 1}


@pytest.mark.parametrize("given", [None, "", "relative", "./x"])
def test_a_cache_never_goes_into_the_current_folder(monkeypatch, tmp_path, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert compile_cache.cache_folder() == tmp_path / ".cache" / "urlvr_jax" / "xla"


def test_a_user_without_a_home_has_no_cache_and_is_told(monkeypatch):
    def no_home(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", classmethod(no_home))
    assert compile_cache.cache_folder() is None
    assert "XDG_CACHE_HOME" in compile_cache.trouble(None)


def test_a_cache_that_cannot_be_made_is_said_once_and_the_run_goes_on(launcher, tmp_path):
    (tmp_path / "file").write_text("")
    call = launcher.run(tiny(tmp_path / "run", SHORT), env={"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert call.status == 0, call.err
    (line,) = errors_of(call)
    assert line.startswith("warning: no compilation cache") and "Not a directory" in line


@pytest.mark.slow
def test_damaged_entries_of_the_cache_are_said_once_and_the_run_goes_on(launcher, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    assert errors_of(launcher.run(tiny(tmp_path / "first", SHORT), env=env)) == []
    entries = list((tmp_path / "urlvr_jax" / "xla").glob("*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:20])
    call = launcher.run(tiny(tmp_path / "second", SHORT), env=env)
    assert call.status == 0, call.err
    (line,) = errors_of(call)
    assert line.startswith(f"warning: {tmp_path}/urlvr_jax/xla: some programs compile anew")
