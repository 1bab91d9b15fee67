"""A connection of every process with process 0: by it they meet, and all know at once when one has ended, and why.

The kernel closes the connection of a killed process; a machine that is gone is found by unanswered probes within
SILENT seconds. Messages are JSON, a line each: a process's card; all cards, once all have come; why a process ends.
Whoever is told that one has ended says so and ends, with the same exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable

from urlvr_jax.errors import UserError
from urlvr_jax.runtime.meeting import Card

LOST = 75  # exit status where a process was lost: try again, the latest checkpoint is whole
WRONG = 2  # and where processes do not fit together
SILENT = 24  # seconds without an answer to a probe
PROBES = 4
LONGEST = 2**20  # bytes of a message
PATIENCE = 300.0  # seconds until all processes have come
TELL_AFTER = 10.0  # seconds after which it is said for whom one waits


class HostsError(UserError):
    """Processes that could not be joined to one run, or do not belong together."""


def end_now(text: str, status: int) -> None:
    """Say why, and be gone: the main thread may be waiting for the lost process for ever."""
    print(f"error: {text}", file=sys.stderr, flush=True)
    os._exit(status)


class Link:
    """Of the process that `card` is of, one of `count`.

    end(text, status) is called, in a thread of this, when another process ends other than by `close`.
    """

    def __init__(self, card: Card, count: int, end: Callable[[str, int], None] = end_now):
        self.card, self.count, self.end = card, count, end
        self.cards = {card.number: card}  # of those that have come
        self.peers: dict[socket.socket, int] = {}  # of process 0: who is at the other end
        self.hub: socket.socket | None = None  # of the others: process 0
        self.complete = threading.Event()
        self.closing = threading.Event()
        self.threads: list[threading.Thread] = []
        self.stopped, self.stopping = socket.socketpair()

    def name(self, number: int) -> str:
        card = self.cards.get(number)
        return card.name(self.count) if card else f"process {number} of {self.count}"

    # ---- process 0 -----------------------------------------------------------------------------

    def listen(self, port: int = 0) -> int:
        """Begin to listen on every address; the port. HostsError where it is taken."""
        try:
            self.server = socket.create_server(("", port), backlog=self.count)
        except OSError as error:
            raise HostsError(
                f"process 0 cannot listen on port {port} ({error.strerror}): another process 0 or another program has it; "
                "give --coordinator another port, the same for all"
            ) from None
        self._run(self._serve)
        return self.server.getsockname()[1]

    def gathered(self, told: dict, patience: float = PATIENCE) -> list[Card]:
        """Wait for all; their cards, which with `told` all are sent. HostsError where one does not come."""
        began = time.monotonic()
        while not self.complete.wait(min(TELL_AFTER, patience)):
            seconds = time.monotonic() - began
            lacking = [i for i in range(self.count) if i not in self.cards]
            who = f"process{'es' * (len(lacking) > 1)} {', '.join(map(str, lacking))} of {self.count}"
            if seconds > patience:
                text = f"{who} did not come within {patience:.0f} s: see that every machine runs its own"
                self._send_all({"text": text, "status": WRONG})
                raise HostsError(text)
            _say(f"process 0 waits for {who}: {seconds:.0f} s of {patience:.0f}")
        cards = [self.cards[i] for i in range(self.count)]
        self._send_all({"cards": [card.text() for card in cards], **told})
        return cards

    def _serve(self) -> None:
        buffers: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as ready, self.server, contextlib.ExitStack() as opened:
            ready.register(self.server, selectors.EVENT_READ)
            ready.register(self.stopped, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    connection = key.fileobj
                    if connection is self.stopped:
                        return
                    if connection is self.server:
                        came = _probed(opened.enter_context(self.server.accept()[0]))
                        buffers[came] = b""
                        ready.register(came, selectors.EVENT_READ)
                        continue
                    data = _received(connection)
                    *lines, rest = (buffers[connection] + data).split(b"\n")
                    buffers[connection] = rest[-LONGEST:]
                    for line in lines:
                        self._heard(connection, line)
                    if not data:
                        ready.unregister(connection)
                        self._left(connection)

    def _heard(self, connection: socket.socket, line: bytes) -> None:
        try:
            message = json.loads(line)
            card = Card.of(message["card"]) if connection not in self.peers else None
        except (ValueError, KeyError, TypeError):
            return  # whoever this is, it is no process of a run
        if card:
            self._came(connection, card)
        elif "bye" in message:
            del self.peers[connection]
        else:
            self._tell(message)

    def _came(self, connection: socket.socket, card: Card) -> None:
        taken = self.cards.get(card.number)
        if taken or not 0 < card.number < self.count or card.facts.get("--processes") != self._processes():
            same = (
                f"there are two processes {card.number}: {taken.where()} and {card.where()}"
                if taken
                else ""
            )
            other = f"{card.where()} is not one of the {self.count} processes of {self.card.where()}"
            message = {
                "text": f"{same or other}: give each its own --process_id, all the same --processes",
                "status": WRONG,
            }
            _sent(connection, message)
            if not self.complete.is_set():  # afterwards a stranger is nobody's end but its own
                self._tell(message)
            return
        self.peers[connection] = card.number
        self.cards[card.number] = card
        if len(self.cards) == self.count:
            self.complete.set()

    def _processes(self) -> str | None:
        return self.card.facts.get("--processes")

    def _left(self, connection: socket.socket) -> None:
        if connection in self.peers and not self.closing.is_set():
            self._tell(self._lost(self.peers.pop(connection)))
        connection.close()

    def _tell(self, message: dict) -> None:
        """All processes, and then this one's end."""
        self._send_all(message)
        self.end(message["text"], message["status"])

    def _send_all(self, message: dict) -> None:
        for connection in list(self.peers):
            _sent(connection, message)

    # ---- the others ----------------------------------------------------------------------------

    def connect(self, host: str, port: int, patience: float = PATIENCE) -> tuple[list[Card], dict]:
        """Join process 0 and wait for all: their cards, and what process 0 told. HostsError where that cannot be."""
        me, where = self.name(self.card.number), f"{host}:{port}"
        began = time.monotonic()
        with _telling(lambda s: f"{me} waits for the others at {where}: {s:.0f} s of {patience:.0f}"):
            self.hub = _reached(host, port, began + patience, f"{me}: process 0 is not there, at {where}")
            self.hub.settimeout(patience + TELL_AFTER)
            self.hub.sendall(_line({"card": self.card.text()}))
            line, rest = _first_line(self.hub)
        if not line:
            raise HostsError(f"{me} was not answered by process 0 at {where}: is another program there?")
        message = json.loads(line)
        if "cards" not in message:
            raise HostsError(message["text"])
        self.hub.settimeout(None)
        cards = [Card.of(text) for text in message.pop("cards")]
        self.cards = {card.number: card for card in cards}
        self._run(self._listen, rest)
        return cards, message

    def _listen(self, text: bytes) -> None:
        while b"\n" not in text:
            data = _received(self.hub)
            if not data:
                break
            text += data
        message = json.loads(text.partition(b"\n")[0]) if b"\n" in text else self._lost(0)
        if "bye" not in message and not self.closing.is_set():
            self.end(message["text"], message["status"])

    # ---- all -----------------------------------------------------------------------------------

    def _lost(self, number: int) -> dict:
        text = (
            f"{self.name(number)} is gone: killed, out of memory, or its machine is down. Steps since the latest "
            "checkpoint are lost; the same command with its --workdir makes them again"
        )
        return {"text": text, "status": LOST}

    def _run(self, work: Callable, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name="link")
        self.threads.append(thread)
        thread.start()

    def fail(self, text: str, status: int) -> None:
        """Tell the others why this process ends, which it does next."""
        self._last_word({"text": f"{self.name(self.card.number)}: {text}", "status": status})

    def close(self) -> None:
        """This process has done its work: its end is no loss."""
        self._last_word({"bye": 1})

    def stop(self) -> None:
        """End the threads and close every connection. Who has not said `close` or `fail` before is missed."""
        self.closing.set()
        self.stopping.close()
        if self.hub:
            with contextlib.suppress(OSError):  # the other side may have closed it
                self.hub.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.stopped.close()
        if self.hub:
            self.hub.close()

    def _last_word(self, message: dict) -> None:
        self.closing.set()
        if self.card.number == 0:
            self._send_all(message)
        elif self.hub:
            _sent(self.hub, message)


# ---- sockets ------------------------------------------------------------------------------------


def _probed(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    each = SILENT // PROBES
    for name, value in (("TCP_KEEPIDLE", each), ("TCP_KEEPINTVL", each), ("TCP_KEEPCNT", PROBES - 1)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _reached(host: str, port: int, until: float, said: str) -> socket.socket:
    while True:
        try:
            return _probed(socket.create_connection((host, port), timeout=TELL_AFTER))
        except OSError as error:
            if time.monotonic() > until:
                text = f"{said} ({error.strerror or error}): start it, or give the address it can be reached at"
                raise HostsError(text) from None
            time.sleep(0.2)


def _first_line(connection: socket.socket) -> tuple[bytes, bytes]:
    """Up to the first end of a line, and what came after it; both empty where none came."""
    text = b""
    while b"\n" not in text:
        data = _received(connection)
        if not data:
            return b"", b""
        text += data
    line, _, rest = text.partition(b"\n")
    return line, rest


def _line(message: dict) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _received(connection: socket.socket) -> bytes:
    """What came; b"" where the other side is gone, however it went."""
    try:
        return connection.recv(2**16)
    except OSError:
        return b""


def _sent(connection: socket.socket, message: dict) -> None:
    """To one that may be gone, which is then found by reading."""
    with contextlib.suppress(OSError):
        connection.sendall(_line(message))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _telling(text: Callable[[float], str]):
    """Say every TELL_AFTER seconds, while one waits, that one does. text: of the seconds."""
    done = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        while not done.wait(TELL_AFTER):
            _say(text(time.monotonic() - began))

    threading.Thread(target=tell, daemon=True, name="waiting").start()
    try:
        yield
    finally:
        done.set()
