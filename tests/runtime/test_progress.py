"""What a run says while it goes on: on a terminal one line that moves, elsewhere a line now and then."""

import io

import numpy as np
import pytest

from urlvr_jax.lab import shipped
from urlvr_jax.measure.collapse import TRUTH
from urlvr_jax.models import folders
from urlvr_jax.runtime import counting, hosts, progress, terminal
from urlvr_jax.untrusted import shown

USUAL = {
    "reward/mean": 10.438,
    "train/ensemble/ground_truth_reward": 0.383,
    "reward/rank_correlation": -0.312,
    "train/ensemble/label_accuracy": 0.797,
    "train/ensemble/no_answer": 0.012,
    "response_length/clip_ratio": 0.074,
    "frac_reward_zero_std": 0.031,
    "response_length/mean": 29.31,
    "actor/entropy": 0.131,
    "actor/nll": 0.122,
    "timing_s/step": 12.345,
}


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", moved := Clock())
    return moved


@pytest.fixture
def screen(monkeypatch):
    """Call it for a terminal of 100 columns: what is written on it."""

    def opened() -> io.StringIO:  # by the test itself: pytest sets the streams anew before each
        written = io.StringIO()
        written.isatty = lambda: True
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(f"sys.{name}", written)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(shown._Visible, "ending", "")
        shown.guard()
        return written

    return opened


# ---- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what, unit, done, of, seconds, text",
    [
        ("compiling", "programs", 2, 7, 41.2, "compiling 3 of 7 programs, 41 s"),
        ("compiling", "programs", 0, 7, 0.1, "compiling 1 of 7 programs"),
        ("writing", "files", 1, 4, 130, "writing 2 of 4 files, 2 min"),
        ("evaluating heldout", "questions", 128, 600, 5.4, "evaluating heldout 128 of 600 questions, about 20 s left"),
        ("evaluating heldout", "questions", 300, 600, 0.9, "evaluating heldout 300 of 600 questions"),
        ("evaluating heldout", "questions", 0, 600, 9, "evaluating heldout 0 of 600 questions"),
        ("loading weights", "bytes", 3 * 10**9, 16 * 10**9, 90, "loading weights 3.0 of 16.0 GB, about 6 min left"),
        ("loading weights", "bytes", 0, 5 * 10**5, 0, "loading weights 0.0 of 0.5 MB"),
    ],
)  # fmt: skip
def test_a_stage_says_where_it_is_and_how_long_yet(what, unit, done, of, seconds, text):
    assert counting.stage_text(what, unit, done, of, seconds) == text


def test_spans_of_time_are_short():
    assert [counting.span(s) for s in (0.4, 89, 90, 3600, 7200)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "2.0 h",
    ]


def test_pieces_are_counted_before_the_first_and_after_each():
    told = []
    for piece in counting.counted("ab", lambda *counts: told.append(counts)):
        told.append(piece)
    assert told == [(0, 2), "a", (1, 2), "b", (2, 2)]


def test_a_steps_line_has_what_matters_in_less_than_160_characters():
    line = progress.step_text(150, 150, USUAL, terminal.LONGEST)
    assert line == (
        "step 150/150  reward 10.438  truth 0.383  agrees -0.31  votes right 0.80  no answer 0.01  cut 0.07  "
        "equal groups 0.03  length 29.3  entropy 0.131  12.35 s/step"
    )
    assert len(line) < 160
    binary = progress.step_text(9, 150, USUAL | {"reward/accuracy": 0.81}, terminal.LONGEST)
    assert "reward acc 0.81  agrees -0.31" in binary and len(binary) < 160
    for name in ("no answer", "cut", "equal groups", "truth", "s/step"):
        assert name in binary and name in line
    slow = USUAL | {"timing_s/step": 4.0, "timing_s/check": 3.0}
    assert progress.step_text(9, 150, slow, terminal.LONGEST).endswith("check 75% of  4.00 s/step")
    narrow = progress.step_text(9, 150, USUAL, 79)
    assert narrow == "step 9/150  reward 10.438  truth 0.383  agrees -0.31  cut 0.07  12.35 s/step"
    unlabelled = {
        n: x
        for n, x in USUAL.items()
        if n.split("/")[-1] not in ("ground_truth_reward", "rank_correlation")
    }
    assert "truth" not in progress.step_text(9, 150, unlabelled, 159)
    assert (
        progress.step_text(9, 150, {"actor/nll": 0.5, "timing_s/step": 1}, 159)
        == "step 9/150  nll 0.500  1.00 s/step"
    )


def test_shadows_stand_in_brackets_after_the_number_they_compare_with():
    watched = {"shadow/format/mean": 0.25, "shadow/empo/mean": 0.5}
    ranked = {name.replace("mean", "rank_correlation"): x for name, x in watched.items()}
    line = progress.step_text(9, 150, USUAL | watched | ranked, 159)
    assert "agrees -0.31  (format +0.25)  (empo +0.50)  " in line and len(line) < 160
    constant = progress.step_text(
        9, 150, USUAL | watched, 159
    )  # of a step whose responses are all wrong, say
    assert "format" not in constant and "agrees" in constant
    unlabelled = {n: x for n, x in (USUAL | watched).items() if n != progress.TRUTH}
    assert "reward 10.438  (format 0.250)  (empo 0.500)  " in progress.step_text(9, 150, unlabelled, 159)
    many = {f"shadow/a_long_name_{i}/rank_correlation": 0.5 for i in range(20)}
    many |= {f"shadow/a_long_name_{i}/mean": 0.5 for i in range(20)}
    line = progress.step_text(9, 150, USUAL | many, 159)
    assert "(a_long_name_0 +0.50)" in line and len(line) < 160 and "equal groups" in line


# ---- where there is no terminal ------------------------------------------------------------------


def test_elsewhere_a_line_comes_every_five_seconds_at_most_and_short_work_is_quiet(clock, capsys):
    console = progress.Console()
    tell = console.stage("compiling", "programs")
    for done in range(4):
        tell(done, 4)
        clock.now += 2
    tell(4, 4)
    console.stage("evaluating heldout", "questions")(0, 9)
    assert capsys.readouterr().out == "compiling 4 of 4 programs, 6 s\n"


def test_a_step_is_said_at_once_then_every_five_seconds_and_at_the_end(clock, capsys):
    run = progress.Progress(30)
    for step in range(1, 31):
        run.step(step, USUAL)
        clock.now += 1
    steps = [line.split("/")[0] for line in capsys.readouterr().out.splitlines()]
    assert steps == [f"step {s}" for s in (1, 6, 11, 16, 21, 26, 30)]


def test_another_process_says_nothing(clock, capsys, monkeypatch):
    monkeypatch.setattr(hosts.jax, "process_index", lambda: 1)
    run = progress.Progress(1)
    run.step(1, USUAL)
    run.say("done")
    tell = run.stage("writing", "files")
    clock.now += 60
    tell(0, 2)
    assert capsys.readouterr().out == ""


# ---- on a terminal -------------------------------------------------------------------------------


def test_a_line_moves_and_what_else_is_said_wipes_a_stage_but_keeps_a_step(clock, screen):
    screen = screen()
    run, clear = progress.Progress(2), shown.CLEAR
    tell = run.stage("compiling", "programs")
    tell(0, 2)
    tell(1, 2)
    run.say("runs/x: empo, from step 0")
    assert screen.getvalue() == (
        f"{clear}compiling 1 of 2 programs{clear}compiling 2 of 2 programs{clear}runs/x: empo, from step 0\n"
    )
    screen.truncate(screen.seek(0))
    run.step(1, USUAL)
    run.step(2, USUAL)
    print("error: it went wrong")  # by whoever, on either stream
    first, second = (progress.step_text(s, 2, USUAL, 99) for s in (1, 2))
    assert screen.getvalue() == f"{clear}{first}{clear}{second}\nerror: it went wrong\n"
    assert len(second) < 100


def test_after_some_steps_a_terminal_draws_the_true_reward_as_a_small_curve(clock, screen):
    screen = screen()
    run = progress.Progress(8)
    for step in range(1, 9):
        run.step(step, {"reward/mean": 0.5, TRUTH: step / 8, "timing_s/step": 1.0})
    lines = screen.getvalue().split(shown.CLEAR)
    assert lines[-1].rstrip().endswith("▁▂▃▄▅▆▇█") and "▁" not in lines[-2]


def test_a_finished_stage_leaves_no_line_and_names_of_others_move_no_cursor(clock, screen):
    screen = screen()
    tell = progress.Console("stderr").stage("evaluating \x1b[2Jset" + "x" * 200, "questions")
    tell(0, 5)
    tell(5, 5)
    print("{}")
    first, wiped, rest = screen.getvalue().split(shown.CLEAR)[1:]
    assert first == ("evaluating \\x1b[2Jset" + "x" * 200)[:99] and wiped == "" and rest == "{}\n"


# ---- who counts ----------------------------------------------------------------------------------


def test_weights_are_counted_in_bytes_and_written_in_files(tmp_path):
    told = {"read": [], "written": []}
    folder = shipped.base("lab:plain")
    config = folders.model_config(folder)
    params = folders.load(folder, config, tell=lambda *counts: told["read"].append(counts))
    total = sum(x.nbytes for x in params.values())
    assert told["read"][0] == (0, total) and told["read"][-1] == (total, total)
    assert np.all(np.diff([done for done, _ in told["read"]]) > 0)

    class Tokens:
        def save(self, path):
            """Its files are not what is tested."""

    folders.save(
        tmp_path / "out", params, config, folder, Tokens(), shard_bytes=total // 3,
        tell=lambda *counts: told["written"].append(counts),
    )  # fmt: skip
    files = len(list((tmp_path / "out").glob("*.safetensors")))
    assert files > 1 and told["written"] == [(i, files) for i in range(files + 1)]


def test_a_block_of_lines_moves_as_one_and_goes_when_something_else_is_said(screen):
    screen = screen()
    console, clear = progress.Console(), shown.CLEAR
    console.move("2 runs\n  a\n  \x1b[31mb")
    console.move("2 runs\n  a " + "x" * 200)
    console.say("a is done")
    console.move("1 run")
    first, second, wiped, last = screen.getvalue().split(clear)[1:]
    assert first == "2 runs\n  a\n  \\x1b[31mb"
    assert second.startswith(2 * shown.UP + "2 runs\n  a xxx") and len(second.split("\n")[1]) == 99
    assert wiped == shown.UP + "a is done\n" and last == "1 run"
