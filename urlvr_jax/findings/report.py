"""docs/findings and the README's table of findings, from the runs on file alone."""

from __future__ import annotations

import pathlib

from urlvr_jax.errors import UserError
from urlvr_jax.findings import detecting, figures, store
from urlvr_jax.findings.finding import HOLDS, Finding, Outcome, outcome, verdict
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.studies import page
from urlvr_jax.studies.cell import root

BEGIN = "<!-- findings: written by `python -m urlvr_jax.main finding all --draw` -->"
END = "<!-- end of findings -->"
SEEDS = (0, 1, 2)  # that are asked for; more are used where they are on file


def judged(finding: Finding, seeds, lines: list[dict]) -> list[Outcome]:
    runs = store.by_seed(finding, seeds, lines)
    return [outcome(rule, runs) for rule in finding.rules]


def seeds_on_file(finding: Finding, lines: list[dict]) -> tuple[int, ...]:
    """Those of which every run is there, and those that are asked for by default."""
    asked = finding.seeds(SEEDS)
    known = sorted({line["seed"] for line in lines if line["seed"] >= asked[0]} | set(asked))
    whole = store.by_seed(finding, known, lines)
    return tuple(seed for seed in known if seed in whole or seed in asked)


def said(outcomes: list[Outcome]) -> str:
    """The verdict, and how many rules hold where it is not that all do."""
    found = verdict(outcomes)
    kept = sum(o.verdict == HOLDS for o in outcomes)
    return found if found == HOLDS else f"{found} ({kept} of {len(outcomes)} rules hold)"


def used(finding: Finding, seeds, lines: list[dict]) -> list[dict]:
    """The lines on file behind a finding."""
    found = (store.find(finding, name, seed, lines) for name in finding.arms for seed in seeds)
    return [line for line in found if line is not None]


def minutes(lines: list[dict]) -> str:
    """Of one core; "-" where none of the lines says, as those of another study."""
    known = [line["minutes"] for line in lines if "minutes" in line]
    return f"{sum(known):.0f}" if known else "-"


def rules_changed(finding: Finding, lines: list[dict]) -> list[dict]:
    """Lines that were made under other rules of this finding, or before it had any."""
    return [line for line in lines if line.get("rules", {}).get(finding.name) != finding.digest()]


def short_row(finding: Finding, lines: list[dict]) -> tuple[str, ...]:
    """For the README: title, the paper's number, ours, verdict, minutes."""
    seeds = seeds_on_file(finding, lines)
    outcomes = judged(finding, seeds, lines)
    paper, ours = finding.brief
    return (
        f"[{finding.name}](docs/findings/README.md#{finding.name.lower()}) {finding.title}", paper,
        ours.format(*(o.measured for o in outcomes)), said(outcomes), minutes(used(finding, seeds, lines)),
    )  # fmt: skip


def rules_table(outcomes: list[Outcome]) -> str:
    rows = [
        (o.rule.text, o.measured, ", ".join(f"{v:.3g}" for v in o.values), o.verdict, o.strict)
        for o in outcomes
    ]
    return page.table(("rule", "measured, 95 %", "by seed", "verdict", "whole interval"), rows)


def behind(finding: Finding, seeds, lines: list[dict]) -> str:
    """How many runs, of which commits, and what is wrong with them."""
    mine, lacking = used(finding, seeds, lines), store.missing(finding, seeds, lines)
    changed = rules_changed(finding, mine)
    out = [f"{len(mine)} runs of seeds {', '.join(map(str, seeds))}"]
    out += [f"{minutes(mine)} minutes of one core, commits {page.commits(mine)}"] if mine else []
    out += [f"{len(lacking)} runs missing"] if lacking else []
    out += [f"{len(changed)} runs were made before these rules stood as they are"] if changed else []
    return "; ".join(out)


def section(finding: Finding, lines: list[dict]) -> str:
    """Of docs/findings: claim, setting, rules and what the runs say; then the attempt before, if there was one."""
    seeds = seeds_on_file(finding, lines)
    outcomes = judged(finding, seeds, lines)
    text = (
        f'<a id="{finding.name.lower()}"></a>\n\n## {finding.name} {finding.title}: {said(outcomes)}\n\n{finding.claim}\n\n'
        f"Paper: {finding.paper}\n\nHere: {finding.setting}\n\n"
        f"{rules_table(outcomes)}\n{behind(finding, seeds, lines)}.\n"
    )
    if used(finding, seeds, lines):
        text += f"\n![{finding.title}]({finding.name}.png)\n"
    if finding.notes:
        text += f"\n{finding.notes}\n"
    if finding.earlier:
        seeds = seeds_on_file(finding.earlier, lines)
        outcomes = judged(finding.earlier, seeds, lines)
        text += (
            f"\n**The attempt before: {said(outcomes)}.** {finding.earlier.setting}\n\n"
            f"{rules_table(outcomes)}\n{behind(finding.earlier, seeds, lines)}.\n"
        )
    return text


def whole_page(lines: list[dict]) -> str:
    rows = [
        (
            f"[{f.name}](#{f.name.lower()})",
            f.title,
            said(judged(f, seeds_on_file(f, lines), lines)),
            minutes(used(f, seeds_on_file(f, lines), lines)),
        )
        for f in FINDINGS.values()
    ]
    return (
        "# The findings\n\n"
        "The paper's claims (arXiv 2603.08660), each as a study in the laboratory. A verdict is computed from the runs on file. A rule "
        "holds where the mean of its number over the seeds meets the threshold and the 95 % interval, Student's t, excludes that there is "
        "no effect; a rule that says that something stays holds where the whole interval meets the threshold. It fails where the whole "
        "interval misses the threshold, and is not decided otherwise. A finding holds where all its rules do, and fails where any fails.\n\n"
        "Thresholds and numbers were committed before the runs. What counts as holding was not at first as it is: the whole interval had to "
        "meet every threshold. With three seeds that decides little, so after the first runs of F1, F2 and F9 it became what the "
        '[grid](../grid/README.md) has always asked. The column "whole interval" has the verdict of the first form.\n\n'
        "Where a setting was tried again, the attempt before stands below the one that counts, with its verdict. Settings were chosen on runs "
        "with seeds from 100; where a definition was chosen on seeds 0 to 2 (F9, F10, F11), seeds from 3 decide, and `--seeds 0:3` means those.\n\n"
        "How early the detectors of collapse warn, and how often falsely: [detectors](detectors.md).\n\n"
        "    python -m urlvr_jax.main finding F1              make the missing runs of one, print its verdict\n"
        "    python -m urlvr_jax.main finding all             of all\n"
        "    python -m urlvr_jax.main finding all --draw      write this page and its figures from the runs on file\n"
        "    python -m urlvr_jax.main finding F6 --scale paper    the same at the paper's scale: checked and priced, not run\n\n"
        + page.table(("finding", "claim", "verdict", "minutes of one core"), rows)
        + "\n"
        + "\n".join(section(finding, lines) for finding in FINDINGS.values())
    )


def draw() -> list[pathlib.Path]:
    """Write the page, its figures and the README's table; the files written."""
    lines = store.on_file()
    out = [store.folder() / "README.md", store.folder() / "detectors.md"]
    store.folder().mkdir(parents=True, exist_ok=True)
    out[0].write_text(whole_page(lines))
    out[1].write_text(detecting.page(lines))
    for finding in FINDINGS.values():
        seeds = seeds_on_file(finding, lines)
        arms = {
            name: [line for seed in seeds if (line := store.find(finding, name, seed, lines))]
            for name in finding.arms
        }
        if any(arms.values()):
            out.append(store.folder() / f"{finding.name}.png")
            figures.draw(finding, arms, out[-1])
    readme = root() / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{readme} lacks the lines {BEGIN!r} and {END!r}, between which the table goes")
    head = (
        "finding",
        "the paper",
        "the laboratory: mean over seeds [95 %]",
        "verdict",
        "minutes of one core",
    )
    table = page.table(head, [short_row(finding, lines) for finding in FINDINGS.values()])
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}")
    return [*out, readme]
