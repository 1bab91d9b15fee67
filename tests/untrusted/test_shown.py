"""On a terminal no text of a model, a file or a folder moves the cursor, hides itself or sets a title."""

import contextlib
import io
import json
import os
import pty
import sys
import threading

import pytest
from launcher import tiny

from urlvr_jax.untrusted import shown

HOSTILE = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202eabc\x00\x7f\ud800"


def test_control_characters_are_shown_and_ordinary_ones_stay():
    text = shown.visible("a\tb\nü漢😀" + HOSTILE)
    assert text == "a\tb\nü漢😀\\x1b]0;title\\x07\\x1b[2J\\r\\x9b31m\\u202eabc\\x00\\x7f\\ud800"


def test_a_stream_that_is_no_terminal_keeps_its_bytes(monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr("sys.stdout", plain)
    shown.guard()
    assert sys.stdout is plain
    plain.isatty = lambda: True
    shown.guard()
    print(HOSTILE)
    shown.move(sys.stdout, HOSTILE, "\n")
    shown.guard()
    print("end")
    text = shown.visible(HOSTILE)
    assert plain.getvalue() == f"{text}\n\r\x1b[2K{text}\nend\n"


def test_what_a_library_writes_past_python_is_shown_afterwards_on_standard_error(capfd, monkeypatch):
    err = io.StringIO()
    err.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", err)
    shown.guard()
    with pytest.raises(ValueError, match="no"), shown.library_output():
        os.write(1, b"a line \x1b[2J\n")
        os.write(2, b"another \xff\n")
        raise ValueError("no")
    os.write(1, b"later")
    assert err.getvalue() == "a line \\x1b[2J\nanother \ufffd\n" and capfd.readouterr().out == "later"


@pytest.fixture
def on_a_terminal(launcher):
    """What `python -m urlvr_jax.main` writes on a terminal, both streams."""

    def run(*words: str, stdin: str = "") -> str:
        ours, theirs = pty.openpty()
        call = launcher.start(list(words), stdin, terminal=os.ttyname(theirs))
        parts = []
        reader = threading.Thread(target=_read, args=(ours, parts))
        reader.start()
        call.wait()
        os.close(theirs)
        reader.join()
        os.close(ours)
        return b"".join(parts).decode("utf-8", "surrogateescape").replace("\r\n", "\n")

    return run


def _read(terminal: int, parts: list[bytes]) -> None:
    """All that is written until nobody has the other end any more."""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            parts.append(part)


@pytest.fixture
def hostile_file(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"prompt": "Q1+2?" + HOSTILE[:-1], "answer": "3"}) + "\n")
    return str(file)


def test_prompts_responses_and_errors_are_shown_on_a_terminal(on_a_terminal, hostile_file, tmp_path):
    generated = on_a_terminal(
        "generate", "--model", "lab:plain", "--config.data.prompt_buckets=(64,)",
        "--config.rollout.max_new_tokens=4", "--config.rollout.response_buckets=(4,)", stdin=f"Q1+2?{HOSTILE[:-1]}\n",
    )  # fmt: skip
    assert "\\x1b[2J" in generated and "\u202e" not in generated
    assert "\x1b" not in generated.replace("\x1b[2K", "") and "loading weights" in generated
    reward = tmp_path / "mine.py"
    reward.write_text(f"def mine(inputs):\n    raise ValueError({HOSTILE[:-1]!r})\n")
    options = {"reward.fn": f"{reward}:mine", "data.train": hostile_file, "data.prompt_buckets": "(64,)"}
    failed = on_a_terminal(*tiny(tmp_path / "run", options))
    moved = [line.split("\n")[0] for line in failed.split("\r\x1b[2K")]
    for line in ("compiling 1 of 4 programs", "evaluating heldout 0 of 8 questions"):
        assert line in moved
    assert "ValueError" in failed and "\\x1b[2J" in failed
    assert "\x1b" not in failed.replace("\x1b[2K", "") and "\u202e" not in failed
