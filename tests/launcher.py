"""Run the command line many times without importing JAX and friends each time.

A server process imports everything once, touches no device, and forks for each call. So a call is a
process of its own, with its own arguments, environment, signals and exit status, for a second or two
instead of eight.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = {
    "model.path": "lab:untrained",
    "model.init": "random",
    "data.prompts_per_step": 4,
    "rollout.group": 2,
    "rollout.max_new_tokens": 8,
    "rollout.response_buckets": "(8,)",
    "eval.max_questions": 8,
    "eval.every": 3,
    "optim.micro_rows": 0,
    "checkpoint.every": 2,
    "log.completions_every": 2,
    "steps": 6,
}


def words(options: dict) -> list[str]:
    """Configuration overrides as they are typed."""
    return [f"--config.{key}={value}" for key, value in options.items()]


def tiny(workdir, options: dict | None = None, experiment: str = "experiments/selfcert.py") -> list[str]:
    """Arguments of a run that takes a second."""
    return ["--config", experiment, "--workdir", str(workdir), *words(TINY | (options or {}))]


def environment() -> dict[str, str]:
    """Of a process that sees one CPU device and compiles as quickly as this one, whatever this one sees."""
    flags = " ".join(f for f in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in f)
    known = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return os.environ | known


class Call:
    """One process of the server: its output so far, and its exit status when it is over."""

    def __init__(self, server: Launcher, pid: int, stem: pathlib.Path):
        self.server, self.pid, self.stem = server, pid, stem
        self.status: int | None = None

    @property
    def out(self) -> str:
        return self.stem.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self.stem.with_suffix(".err").read_text()

    def wait(self) -> Call:
        if self.status is None:
            self.status = self.server.ask({"wait": self.pid})
        return self

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait_for(self, condition, seconds: float = 60) -> None:
        """Poll until `condition()` holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"nothing after {seconds} s:\n{self.out}\n{self.err}"
            time.sleep(0.002)


class Launcher:
    """Starts calls of `python -m urlvr_jax.main`."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.calls = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT, env=environment(),
        )  # fmt: skip

    def ask(self, request: dict) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self, arguments: list[str], stdin: str = "", env: dict | None = None, terminal: str | None = None
    ) -> Call:
        """A call, whose output goes into a file, or to the terminal of that name."""
        self.calls += 1
        stem = self.folder / f"call{self.calls}"
        for suffix in (".out", ".err") if terminal else ():
            stem.with_suffix(suffix).symlink_to(terminal)
        stem.with_suffix(".in").write_text(stdin)
        return Call(self, self.ask({"arguments": arguments, "stem": str(stem), "env": env or {}}), stem)

    def run(self, arguments: list[str], stdin: str = "", env: dict | None = None) -> Call:
        return self.start(arguments, stdin, env).wait()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@functools.cache
def shared() -> Launcher:
    """One server for all test files."""
    folder = tempfile.TemporaryDirectory(prefix="launcher-")
    atexit.register(folder.cleanup)
    server = Launcher(pathlib.Path(folder.name))
    atexit.register(server.close)
    return server


@pytest.fixture(scope="session", name="launcher")
def launcher_fixture() -> Launcher:
    return shared()


def child(request: dict) -> None:
    """Become `python -m urlvr_jax.main` with the request's arguments."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    stem = request["stem"]
    for number, (suffix, mode) in enumerate(((".in", os.O_RDONLY), (".out", 1), (".err", 1))):
        flags = mode if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY
        os.dup2(os.open(stem + suffix, flags, 0o644), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    os.environ.update(request["env"])
    sys.argv = [str(ROOT / "urlvr_jax" / "main.py"), *request["arguments"]]
    from urlvr_jax import main

    main.run()


def serve() -> None:
    import warnings

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot
    import pyarrow.parquet  # noqa: F401
    from transformers import AutoConfig, AutoTokenizer  # noqa: F401

    for name in (
        "main",
        "runtime.opening",
        "runtime.progress",
        "runtime.workdir",
        "rewards.compute",
        "verbs.score",
    ):
        importlib.import_module(f"urlvr_jax.{name}")

    figure, _ = matplotlib.pyplot.subplots()  # fonts and the like are read once
    figure.savefig(os.devnull, format="png")
    matplotlib.pyplot.close(figure)
    AutoConfig.from_pretrained(str(ROOT / "urlvr_jax" / "lab" / "bases" / "untrained"))
    AutoTokenizer.from_pretrained(str(ROOT / "urlvr_jax" / "lab" / "bases" / "untrained"))
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        os.setpgid(0, 0)
        status = 1
        try:
            child(request)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001  as the interpreter does
            sys.excepthook(*sys.exc_info())
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
