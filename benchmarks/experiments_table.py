"""What the experiments' texts and the README say of their results, from the grid's runs.

    python benchmarks/experiments_table.py check      list what is stale; exit status 1 if anything is
    python benchmarks/experiments_table.py write      write it anew

The rows of the README's table are medians (ranges) over seeds, the line "Expect" of an experiment's text is its
own seed's. An experiment belongs to the grid if its configuration has the hash of one of the grid's cells.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys

from grid import GRID, ROOT, expected_hash, read_runs, spread

README = ROOT / "README.md"
ROW = r"(?m)^\| \[`{0}`\].*$"
EXPECT = re.compile(r"Expect \(seed \d+, held-out accuracy\): .*?tokens\.", re.S)


def cells() -> dict:
    """{experiment file: (reward, rate)} of those that are cells of the grid, in the README's order."""
    found = {}
    for name in re.findall(r"(?m)^\| \[`(\w+\.py)`\]", README.read_text()):
        file = ROOT / "experiments" / name
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        c = module.get_config()
        if c.reward.name in GRID.REWARDS and c.optim.lr in GRID.RATES and c.steps == 150:
            found[file] = (c.reward.name, c.optim.lr)
    return found


def short(rate: float) -> str:
    return f"{rate:.0e}".replace("e-0", "e-")


def row(old: str, reward: str, rate: float, runs: list[dict]) -> str:
    """A row of the README's table with its numbers from these runs, its first cells as they were."""
    first = [cell.strip() for cell in old.strip("|").split(" | ")][:3]
    of = lambda key: spread([r["held_out"][key] for r in runs])
    middle = lambda values: sorted(values)[len(values) // 2]
    tokens = (
        f"{middle([r['length'][0] for r in runs]):.0f} → {middle([r['length_last'] for r in runs]):.0f}"
    )
    return "| " + " | ".join([*first, short(rate), of("base"), of("peak"), of("final"), tokens]) + " |"


def expectation(run: dict) -> str:
    held = run["held_out"]
    return (
        f"Expect (seed {run['seed']}, held-out accuracy): base {held['base']:.2f}, best {held['peak']:.2f} at\n"
        f"step {held['peak_step']}, {held['final']:.2f} at the end; responses from {run['length'][0]:.0f} to "
        f"{run['length_last']:.0f} tokens."
    )


def texts() -> dict:
    """{file: what it should say} of the README and the experiments."""
    runs, out = read_runs(), {README: README.read_text()}
    for file, (reward, rate) in cells().items():
        these = [r for r in runs if (r["reward"], r["rate"]) == (reward, rate)]
        these = [r for r in these if r["config_hash"] == expected_hash(reward, rate, r["seed"])]
        if not these:
            continue
        pattern = ROW.format(re.escape(file.name))
        old = re.search(pattern, out[README]).group()
        out[README] = out[README].replace(old, row(old, reward, rate, these))
        text, first = file.read_text(), next(r for r in these if r["seed"] == 0)
        out[file] = EXPECT.sub(lambda m, first=first: expectation(first), text)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("check", "write"))
    write = parser.parse_args().what == "write"
    stale = {file: text for file, text in texts().items() if file.read_text() != text}
    for file, text in stale.items():
        print(f"{'wrote' if write else 'stale:'} {file.relative_to(ROOT)}")
        if write:
            file.write_text(text)
    print(f"{len(stale)} of {len(texts())} files {'were' if write else 'are'} stale")
    return 0 if write or not stale else 1


if __name__ == "__main__":
    sys.exit(main())
