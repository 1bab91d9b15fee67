"""What lies in a bucket, gs://NAME/...: files are copied here to be read, a run's folder is written here and copied there.

An object can be neither appended to nor locked by a kernel. So a run writes a folder of this machine's cache, which
is copied every BEAT seconds and before each checkpoint; checkpoints go to the bucket themselves. Its lock is an object
that changes with every beat: one that no longer does is a dead run's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import pathlib
import shutil
import sys
import threading
import time
from collections.abc import Callable

from urlvr_jax.errors import UserError
from urlvr_jax.runtime.compile_cache import cache_folder
from urlvr_jax.runtime.lock import NAME as LOCK
from urlvr_jax.runtime.terminal import say, warn

SCHEME = "gs://"
BEAT = 20.0  # seconds between two copies
DEAD_AFTER = 3 * BEAT  # seconds without a change of the lock
CHECKPOINTS = "checkpoints"


class BucketError(UserError):
    """A bucket that cannot be reached, or holds no such thing; the message names it."""


def is_in(name) -> bool:
    return str(name).startswith(SCHEME)


def place(name) -> pathlib.Path:
    """A path that reads and writes where `name` says, in a bucket or on a disk."""
    from etils import epath

    return epath.Path(name)


def copied(name: str, without: tuple[str, ...] = ()) -> pathlib.Path:
    """A file or folder of a bucket, copied to this machine; what is here already and unchanged is not copied again.

    without: names of its folders that are left out. Processes of one machine share the copy. Raises BucketError.
    """
    target = staging("copies", name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "lock", "w") as turn, _reaching(name) as files:
        fcntl.flock(turn, fcntl.LOCK_EX)
        found = {n: s for n, s in listed(files, name).items() if n.partition("/")[0] not in without}
        if not found:
            raise BucketError(f"{name} does not exist, or is empty")
        for relative, source in found.items():
            here = target / relative if relative else target
            mark = here.with_name(f".{here.name}.from")
            if not (mark.is_file() and here.exists() and mark.read_text() == source["version"]):
                here.parent.mkdir(parents=True, exist_ok=True)
                beside = here.with_name(f".{here.name}.part")
                files.get_file(source["name"], str(beside))
                beside.replace(here)
                mark.write_text(source["version"])
        if target.is_dir():
            for file in target.rglob("*"):
                if file.is_file() and str(file.relative_to(target)) not in found and file.suffix != ".from":
                    file.unlink()
    return target


def staging(kind: str, name: str) -> pathlib.Path:
    """Where this machine's cache keeps what a bucket has under `name`; the last part keeps its name."""
    cache = cache_folder()
    if cache is None:
        raise BucketError(f"{name}: XDG_CACHE_HOME or HOME must name a folder for copies of it")
    name = name.rstrip("/")
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return cache.parent / kind / digest / name.rpartition("/")[2]


def listed(files, name: str) -> dict[str, dict[str, str]]:
    """{path below `name`: {"name", "version"}} of all objects below it; of an object itself under ""."""
    name = name.rstrip("/").removeprefix(SCHEME)
    files.invalidate_cache()
    version = lambda info: str(info.get("generation") or info.get("etag") or (info["size"], info["mtime"]))
    return {
        path.removeprefix(name).strip("/"): {"name": path, "version": version(info)}
        for path, info in files.find(name, detail=True).items()
        if not path.endswith("/") and info["type"] == "file"
    }


@contextlib.contextmanager
def _reaching(name: str):
    """The file system of buckets; what it raises becomes a BucketError."""
    try:
        import gcsfs

        yield gcsfs.GCSFileSystem()
    except ImportError as error:
        raise BucketError(
            f"{name}: buckets need a package: pip install 'urlvr_jax[gcs]' ({error})"
        ) from None
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  of the network, its rights, its names: there is no common class
        raise BucketError(f"{name} cannot be reached ({_said(error)})") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()):.300}"


class Mirror:
    """Copies a run's folder to where the run is said to be, and holds that place, until `close`.

    folder: of this machine; it becomes what is there. taken: who holds the place instead, then nothing is copied.
    Raises BucketError where it cannot be reached at the start; later failures are said once and tried again.
    """

    def __init__(self, name: str, folder: pathlib.Path, text: str):
        self.name, self.folder, self.text = name.rstrip("/"), folder, text
        self.there = self.name.removeprefix(SCHEME)
        self.turn, self.ended = threading.Lock(), threading.Event()
        self.copied: dict[str, tuple[int, int]] = {}  # time and size of what is there
        self.beats, self.failed = 0, ""
        with _reaching(self.name) as self.files:
            self.taken = self._take()
            if not self.taken:
                self.copied = _filled(self.files, self.name, folder)
        if not self.taken:
            self.thread = threading.Thread(target=self._beat, daemon=True, name="mirror")
            self.thread.start()

    # ---- who holds the place -------------------------------------------------------------------

    def _held(self) -> str:
        try:
            return self.files.cat_file(f"{self.there}/{LOCK}").decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _take(self) -> str:
        """Who holds the place, if not this run from now on."""
        before = self._held()
        if before:
            if not self._is_of_here(before):
                say(f"{self.name}: was held by {before.splitlines()[0]}; is it still?", stream=sys.stderr)
                if _changes(self._held, before, DEAD_AFTER):
                    return self._held().partition("\n")[0] or "another run"
            self._rid(LOCK)
        try:
            self._hold(mode="create")
        except FileExistsError:  # another came between
            return self._held().partition("\n")[0] or "another run"
        return ""

    def _is_of_here(self, text: str) -> bool:
        """Whether its holder wrote this folder of this machine, whose own lock says that it is gone."""
        of = lambda text: text.partition(" on ")[2].partition(",")[0]
        return of(text) == of(self.text) and f"\n{self.folder}\n" in text

    def _hold(self, mode: str = "overwrite") -> None:
        self.beats += 1
        text = f"{self.text}{self.folder}\nbeat {self.beats}\n".encode()
        self.files.pipe_file(f"{self.there}/{LOCK}", text, mode=mode)

    def _rid(self, relative: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(f"{self.there}/{relative}")

    # ---- copies --------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self.ended.wait(BEAT):
            self.copy(self._hold)

    def copy(self, also: Callable = lambda: None) -> None:
        """Copy what has changed; a failure is said once, until it is over."""
        with self.turn:
            try:
                held = self._held()
                if not held.startswith(self.text):  # for long this one was not heard of
                    raise BucketError(
                        f"another run holds it: {held.partition(chr(10))[0] or 'its lock is gone'}"
                    )
                self._copy()
                also()
            except Exception as error:  # noqa: BLE001  as in `_reaching`
                if not self.failed:
                    warn(f"{self.name} cannot be written ({_said(error)}); the files are in {self.folder}")
                self.failed = _said(error)
            else:
                self.failed = ""

    def _copy(self) -> None:
        files = {str(f.relative_to(self.folder)): f for f in self.folder.rglob("*") if f.is_file()}
        for relative, file in files.items():
            if relative != LOCK and file.suffix != ".tmp":
                with contextlib.suppress(FileNotFoundError):  # has been removed since
                    stamp = _stamp(file)
                    if self.copied.get(relative) != stamp:
                        self.files.put_file(str(file), f"{self.there}/{relative}")
                        self.copied[relative] = stamp
        for relative in set(self.copied) - set(files):
            self._rid(relative)
            del self.copied[relative]

    def close(self) -> bool:
        """Copy the rest and let the place go. Whether all of it is there."""
        if not self.taken and not self.ended.is_set():
            self.ended.set()
            self.thread.join()
            self.copy(lambda: self._rid(LOCK))
        return not self.failed


def fill(name: str, folder: pathlib.Path) -> None:
    """Make a folder of this machine what a run's bucket holds, without its checkpoints. Raises BucketError."""
    folder.mkdir(parents=True, exist_ok=True)
    with _reaching(name) as files:
        _filled(files, name, folder)


def _filled(files, name: str, folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    copied = {}
    for entry in folder.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for relative, source in listed(files, name).items():
        if relative.partition("/")[0] not in (CHECKPOINTS, LOCK):
            here = folder / relative
            here.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(source["name"], str(here))
            copied[relative] = _stamp(here)
    return copied


def is_empty(name: str) -> bool:
    """Whether there is nothing under a name. Raises BucketError."""
    with _reaching(name) as files:
        return not listed(files, name)


def write(name: str, text: str) -> None:
    """One object. Raises BucketError."""
    with _reaching(name) as files:
        files.pipe_file(name.removeprefix(SCHEME), text.encode())


def send(folder: pathlib.Path, name: str) -> None:
    """Copy all files of a folder to a bucket. Raises BucketError."""
    with _reaching(name) as files:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                files.put_file(
                    str(file), f"{name.rstrip('/').removeprefix(SCHEME)}/{file.relative_to(folder)}"
                )


def _stamp(file: pathlib.Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _changes(read: Callable[[], str], before: str, within: float) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        time.sleep(min(1.0, within / 10))
        if read() != before:
            return True
    return False
