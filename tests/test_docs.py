"""What the documents say runs as printed."""

import pathlib
import re
import subprocess
import sys
import textwrap

import helpers
import jax.numpy as jnp
import numpy as np
import pytest
from launcher import environment

from urlvr_jax import config
from urlvr_jax.data import prompt_formats, shapes
from urlvr_jax.rewards import expression
from urlvr_jax.types import STATISTICS

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = (
    "README.md",
    "docs/rewards.md",
    "docs/checks.md",
    "docs/design.md",
    "docs/metrics.md",
    "docs/probe.md",
    "docs/answers.md",
    "docs/data.md",
    "docs/plan.md",
    "docs/models.md",
    "docs/lora.md",
    "docs/use.md",
    "docs/security.md",
    "docs/sinks.md",
    "docs/sweeps.md",
    "docs/verifiers.md",
    "docs/coming_from.md",
    "docs/index.md",
    "docs/library.md",
    "docs/performance.md",
    "docs/report.md",
    "docs/gallery.md",
    "docs/history.md",
    "docs/experiments/README.md",
    "docs/grid/README.md",
    "docs/countdown/README.md",
    "docs/countdown/notes.md",
    "docs/judges/README.md",
    "docs/judges/notes.md",
)


@pytest.mark.parametrize("document", ["README.md", "docs/rewards.md"])
def test_the_printed_reward_loads_and_runs(document, tmp_path):
    code = re.search(r"```python\n(# my_reward.py\n.*?)```", (ROOT / document).read_text(), re.S).group(1)
    file = tmp_path / "my_reward.py"
    file.write_text(code)
    fn = expression.load("", f"{file}:my_reward")
    rng = np.random.default_rng(0)
    stats = {n: jnp.asarray(rng.random((6, 5)), jnp.float32) for n in STATISTICS}
    answers, lengths = np.array([[0, 1, -1], [0, 0, 0]]), np.array([5, 1, 2, 3, 4, 5])
    inputs = helpers.reward_inputs(fn, stats=stats, answers=answers, lengths=lengths, group=3)
    out = np.asarray(expression.compute(fn, inputs, None))
    gap = np.asarray(stats["top2_gap"])
    assert set(fn.needs) == {"top2_gap", "answers"} and out[0, 2] == 0
    np.testing.assert_allclose(out[1, 0], gap[3, :3].mean(), rtol=1e-6)


@pytest.mark.parametrize("document", DOCS)
def test_files_and_keys_named_in_the_documents_exist(document):
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert ((ROOT / document).parent / link).exists(), link
    for path in re.findall(r"\b((?:experiments|benchmarks)/[\w/]+\.py)", text):
        assert (ROOT / path).is_file(), path
    known = set(config.flat(config.default()))
    for key in re.findall(r"--config\.([\w.]+)=", text):
        assert key in known, key


def test_every_shape_and_published_prompt_stands_in_the_document_of_the_data():
    text = (ROOT / "docs" / "data.md").read_text()
    for name in {shape.shape for shape in shapes.SHAPES}:
        assert f"\n| {name} |" in text, name
    for name in prompt_formats.PRESETS:
        assert f"\n| `{name}` |" in text, name


def test_the_page_of_the_library_runs_as_it_stands():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.S)
    assert sum(block.count("\n") for block in blocks) <= 60
    says = """
    assert answers.classes.shape == rewards.shape == (2, 8) and len(texts) == 16
    mask = rollouts.mask
    np.testing.assert_allclose(stats["logp"][mask], rollouts.stats["logp"][mask], atol=1e-4)
    assert int(state.updates) == 1 and float(metrics["actor/skipped_updates"]) == 0
    """
    code = "".join(blocks) + textwrap.dedent(says)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
