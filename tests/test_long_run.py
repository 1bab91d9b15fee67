"""The verdict of the long run: what counts as growing."""

from long_run import Sample, verdict


def samples(memory=0.0, files=0.0, threads=0.0):
    """Every 50 steps to 1,500: each grows by so much a step, and swings as a save is under way or not."""
    return [
        Sample(s, 700 + memory * s, int(8 + s // 50 % 2 * 4 + files * s), int(26 + s // 50 % 2 * 4 + threads * s))
        for s in range(50, 1501, 50)
    ]  # fmt: skip


def test_a_run_that_swings_does_not_grow():
    assert verdict(samples()) == {}


def test_what_leaks_is_named():
    assert verdict(samples(memory=0.1)) == {"memory": "+11.6%"}
    assert list(verdict(samples(files=0.04))) == ["files"]
    assert list(verdict(samples(threads=0.04))) == ["threads"]


def test_what_a_start_takes_does_not_count():
    assert verdict([Sample(50, 100, 4, 9), *samples()[5:]]) == {}
