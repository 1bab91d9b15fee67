"""What scoring and the update hold at once, from the compiled programs: no `[tokens, V]`, nothing quadratic.

Sizes are those of the temporary buffers that the compiler reserves beyond arguments and results. The update's
weights and optimizer state are arguments, which it gives away.
"""

import functools

import helpers
import jax
import jax.numpy as jnp
import pytest

from urlvr_jax import config
from urlvr_jax.learning import optimizer as optimizer_lib
from urlvr_jax.learning import step
from urlvr_jax.models import transformer
from urlvr_jax.runtime.sharding import ByPlatform
from urlvr_jax.scoring import head, score
from urlvr_jax.scoring.packing import Layout, PackShape
from urlvr_jax.types import Batch

GROUP, WIDTH, D = 4, 64, 8
ROWS = 16  # of a micro-batch: 1024 tokens, so neither vocabulary is one chunk of logits
SMALL, LARGE = 8192, 151936
# Tables [V, D] that belong to the gradients. The tied table's gradient has two parts, the output's and the
# input's, of which both exist before they are added: two for `gradients`, whose sum over micro-batches is a
# result. For `update` that sum is temporary: one more. Scoring has no gradient.
TABLES = {"score_all": 0, "gradients": 2, "update": 3}
CONFIG = step.UpdateConfig(
    temperature=1.0, clip_low=0.2, clip_high=0.2, dual_clip=3.0, aggregation="token-mean",
    norm_length=WIDTH, kl_in_loss=None, on_policy=True, clip_norm=1.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_logits_are_kept(monkeypatch):
    """Few are kept where few there are; what is measured here is what happens to many."""
    monkeypatch.setattr(head, "KEPT_ELEMENTS", ByPlatform(0, 0))


@functools.cache
def temporary(what, vocab=SMALL, micro_batches=2, rows=ROWS, micro_prompts=0) -> int:
    """Bytes of the temporary buffers of `score_all`, `gradients` or `update`."""
    model = helpers.model_config(
        n_layers=1, vocab_size=vocab, d_model=D, d_ff=16, n_heads=2, n_kv_heads=1, head_dim=8
    )
    graph, shapes = transformer.structure(model)
    ints = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32)
    floats = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)
    all_rows = micro_batches * rows
    prompts = all_rows // GROUP
    shape = PackShape.of(GROUP, rows, micro_prompts, 1)
    leading = micro_batches, shape.units
    layouts = Layout(ints(*leading, shape.rows, WIDTH), ints(*leading, shape.prompts))
    inputs = (ints(prompts, 5), ints(prompts), ints(all_rows, WIDTH))
    batch = Batch(*inputs, ints(all_rows), *(floats(all_rows, WIDTH) for _ in range(3)))
    if what == "score_all":
        run = jax.jit(functools.partial(score.score_all, graph, temperature=1.0))
        lowered = run.lower(shapes, *inputs, layouts, ints())
    elif what == "gradients":
        fn = lambda *args: step.gradients(graph, *args, CONFIG)
        lowered = jax.jit(fn).lower(shapes, batch, layouts, ints())
    else:
        optimizer = optimizer_lib.optimizer(config.default().optim, 10)
        fresh = lambda p: step.TrainState(p, optimizer.init(p), jnp.int32(0))
        run = jax.jit(functools.partial(step.update, graph, optimizer, CONFIG), donate_argnums=0)
        lowered = run.lower(jax.eval_shape(fresh, shapes), batch, layouts, ints())
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("what", TABLES)
def test_nothing_but_the_gradient_grows_with_the_vocabulary(what):
    beyond = {vocab: temporary(what, vocab) - TABLES[what] * 4 * vocab * D for vocab in (SMALL, LARGE)}
    assert 0 < beyond[LARGE] < 1.05 * beyond[SMALL], {v: f"{x / 2**20:.1f} MiB" for v, x in beyond.items()}
    assert temporary(what, LARGE) < ROWS * WIDTH * LARGE * 4 / 5  # the logits of one micro-batch


@pytest.mark.parametrize(
    "what, micro_prompts", [("score_all", 0), ("gradients", 0), ("update", 0), ("gradients", 65)]
)
def test_memory_grows_with_the_rows_of_a_micro_batch_no_more_than_linearly(
    what, micro_prompts, monkeypatch
):
    # Few logits at once: here the activations are to be seen. Rows enough that each array is above a MiB:
    # smaller ones the compiler fuses otherwise.
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", ByPlatform(2**14, 2**14))
    measure = lambda rows: temporary.__wrapped__(what, vocab=64, rows=rows, micro_prompts=micro_prompts)
    one, two, four = (measure(n * ROWS) for n in (2, 4, 8))
    assert two <= 2 * one and four <= 2 * two and four - two <= 1.02 * 2 * (two - one), (one, two, four)
    assert four > 1.5 * two, "the activations are not what was measured"


@pytest.mark.parametrize("what", TABLES)
def test_more_micro_batches_cost_a_few_bytes_a_token(what):
    few, many = (temporary(what, micro_batches=n) for n in (2, 4))
    assert many - few <= 16 * 2 * ROWS * WIDTH, (many - few) / (2 * ROWS * WIDTH)


@pytest.mark.parametrize("vocab, kept", [(SMALL, True), (LARGE, False)])
def test_logits_wait_for_the_backward_pass_only_where_they_are_few(vocab, kept, monkeypatch):
    none = temporary("gradients", vocab)
    monkeypatch.undo()
    assert (ROWS * WIDTH * vocab <= head.KEPT_ELEMENTS.cpu) is kept
    more = temporary.__wrapped__("gradients", vocab) - none
    logits = 4 * ROWS * WIDTH * vocab
    assert (0.5 * logits < more < 2.1 * logits) if kept else more == 0, more / logits
