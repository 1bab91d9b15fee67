"""How processes meet, and how each learns that another has ended."""

import dataclasses
import socket
import threading

import pytest

from urlvr_jax.runtime import link, meeting
from urlvr_jax.runtime.link import HostsError, Link

MADE: list[Link] = []


@pytest.fixture(autouse=True)
def _no_link_outlives_its_test():
    yield
    while MADE:
        MADE.pop().stop()


def linked(*given) -> Link:
    MADE.append(Link(*given))
    return MADE[-1]


class Ended(threading.Event):
    """Records what a link says of another process's end, instead of ending this one."""

    def __call__(self, text: str, status: int) -> None:
        self.text, self.status = text, status
        self.set()

    def in_time(self) -> tuple[str, int]:
        assert self.wait(10), "nobody was told"
        return self.text, self.status


def card(number: int, **facts) -> meeting.Card:
    return dataclasses.replace(meeting.Card.here(number, {"--processes": "3", **facts}), pid=1000 + number)


def met(count: int = 3) -> tuple[list[Link], list[Ended]]:
    """The links of `count` processes that have found each other."""
    ends = [Ended() for _ in range(count)]
    links = [linked(card(i), count, end) for i, end in enumerate(ends)]
    port = links[0].listen()
    told = [None] * count
    connect = lambda i: told.__setitem__(i, links[i].connect("127.0.0.1", port, 10))
    threads = [threading.Thread(target=connect, args=(i,)) for i in range(1, count)]
    for thread in threads:
        thread.start()
    cards = links[0].gathered({"port": 7}, 10)
    for thread in threads:
        thread.join(10)
    assert all(answer == (cards, {"port": 7}) for answer in told[1:])
    assert [one.number for one in cards] == list(range(count))
    return links, ends


def test_all_learn_which_process_was_lost():
    links, ends = met()
    links[1].hub.shutdown(socket.SHUT_RDWR)  # as the kernel does for a killed process
    for end in (ends[0], ends[2]):
        text, status = end.in_time()
        assert "process 1 of 3 (pid 1001 on " in text and "is gone" in text and status == link.LOST


def test_all_learn_that_process_0_was_lost():
    links, ends = met()
    links[0].stop()
    for end in ends[1:]:
        text, status = end.in_time()
        assert "process 0 of 3 (pid 1000 on " in text and status == link.LOST


@pytest.mark.parametrize("who", [0, 1])
def test_an_error_of_one_is_told_to_all_with_its_status(who):
    links, ends = met()
    links[who].fail("reward 'x' is not finite", 2)
    for i in {0, 1, 2} - {who}:
        text, status = ends[i].in_time()
        assert (text.partition(" (")[0], status) == (f"process {who} of 3", 2)
        assert text.endswith("reward 'x' is not finite")


def test_who_has_done_its_work_is_missed_by_nobody():
    links, ends = met()
    for one in (links[2], links[0], links[1]):
        one.close()
    links[1].stop()
    links[2].stop()
    assert not any(end.wait(0.2) for end in ends)


def test_two_processes_of_one_number_are_named():
    first = linked(card(0), 3, Ended())
    port = first.listen()
    links = [linked(card(1), 3, Ended()), linked(dataclasses.replace(card(1), pid=77), 3, Ended())]
    errors = []

    def connect(one):
        with pytest.raises(HostsError) as error:
            one.connect("127.0.0.1", port, 10)
        errors.append(str(error.value))

    threads = [threading.Thread(target=connect, args=(one,)) for one in links]
    for thread in threads:
        thread.start()
    text, status = first.end.in_time()
    for thread in threads:
        thread.join(10)
    assert text.startswith("there are two processes 1: pid ") and "--process_id" in text and status == 2
    assert "pid 77" in text and "pid 1001" in text and errors == [text, text]


def test_a_stranger_ends_no_run_that_is_under_way():
    links, ends = met()
    port = links[0].server.getsockname()[1]
    with pytest.raises(HostsError, match="there are two processes 2"):
        linked(card(2), 3, Ended()).connect("127.0.0.1", port, 5)
    with socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(b"GET / HTTP/1.1\r\n\r\n\xff\n")
    assert not any(end.wait(0.2) for end in ends)


def test_who_does_not_come_is_named_after_the_time_that_was_stated(monkeypatch, capsys):
    monkeypatch.setattr(link, "TELL_AFTER", 0.1)
    alone = linked(card(0), 3, Ended())
    alone.listen()
    with pytest.raises(HostsError, match="processes 1, 2 of 3 did not come within 0 s"):
        alone.gathered({}, 0.3)
    assert "process 0 waits for processes 1, 2 of 3: 0 s of 0" in capsys.readouterr().err


def test_a_coordinator_that_is_not_there_is_named(monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(HostsError, match=f"process 1 of 2 .*: process 0 is not there, at 127.0.0.1:{port}"):
        linked(card(1), 2, Ended()).connect("127.0.0.1", port, 0.3)


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("", 0)) as server, pytest.raises(HostsError, match="cannot listen on port"):
        linked(card(0), 2, Ended()).listen(server.getsockname()[1])


def test_what_processes_were_given_and_run_must_be_the_same():
    mine, other = card(0, lr="1e-4"), card(1, lr="1e-4")
    assert meeting.differences([mine, other]) == ""
    text = meeting.differences([mine, card(1, lr="3e-5")])
    assert f"  lr: 1e-4 on {mine.host}, 3e-5 in process 1 on {mine.host}" in text
    older = dataclasses.replace(other, host="n2", versions=other.versions | {"jax": "0.1"})
    assert "  jax: " in meeting.differences([mine, older]) and "process 1 on n2" in meeting.differences(
        [mine, older]
    )
    assert meeting.Card.of(mine.text()) == mine
