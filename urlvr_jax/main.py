"""Train a language model by rewards without labels; also evaluate, generate, export, score, answers.

The story of the data, one step:

    1  prompts      a function of (seed, step); gold answers live apart            data/
    2  rollouts     G responses a prompt, at temperature T                         rollout/
    3  statistics   log-prob, entropy, self-certainty, top-2 gap of every token    scoring/
    4  answers      text -> canonical keys -> classes within a group               answers/, checks/
    5  rewards      a pure function of statistics, answers and lengths             rewards/
    6  advantages   rewards against the rest of their group                        learning/advantages.py
    7  update       clipped policy gradient, KL if `kl.coef` is set                learning/
    8  metrics      what happened, against labels where there are any              measure/
    9  analysis     rise, fall, collapse step, figure                              measure/

    python -m urlvr_jax.main --config experiments/selfcert.py [--config.optim.lr=1e-4] [--workdir DIR]
    python -m urlvr_jax.main evaluate --model FOLDER_OR_RUN [--data FILE] [--config experiments/x.py]
    python -m urlvr_jax.main generate --model FOLDER_OR_RUN --prompt "Q16-13+2?"
    python -m urlvr_jax.main export --model RUN --out FOLDER
    python -m urlvr_jax.main score --model FOLDER_OR_RUN --data COMPLETIONS --config.reward.name=NAME
    python -m urlvr_jax.main rewards
    python -m urlvr_jax.main answers --data RESPONSES --config.answers.style=boxed
    python -m urlvr_jax.main plan --config experiments/x.py --hardware v5e-16 [--compile]
    python -m urlvr_jax.main doctor --config experiments/x.py
    python -m urlvr_jax.main countdown --out FILE [--count 4000] [--config.seed=0]
    python -m urlvr_jax.main study experiments check
"""

from __future__ import annotations

import functools
import importlib
import os
import pathlib
import sys

import jax
import numpy as np
from absl import app, flags, logging

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.learning.advantages import kl_penalty, step_advantages
from urlvr_jax.learning.step import SkippedUpdates
from urlvr_jax.measure import evaluate, metrics, notices
from urlvr_jax.rewards import expression, self_verification
from urlvr_jax.rewards.compute import reference_of, reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.runtime import hosts
from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.clock import Clock, CompileCounter
from urlvr_jax.runtime.compile_cache import configure_jax
from urlvr_jax.runtime.opening import open_run, require_inputs
from urlvr_jax.runtime.progress import Progress
from urlvr_jax.runtime.signals import StopSignal
from urlvr_jax.runtime.workdir import Workdir, new_path
from urlvr_jax.untrusted import shown
from urlvr_jax.verbs import VERBS, WITH_WORDS
from urlvr_jax.verbs.flags import config_file, define_flags, friendly


def train(c, folder: pathlib.Path) -> int:
    """Run an experiment to `c.steps`, or from where its folder stands. Returns the exit status."""
    progress = Progress(c.steps)
    compiles = CompileCounter()
    stop = StopSignal()

    # ---- everything that can be wrong is found here, before the first step ---------------------
    reward = expression.load_configured(c)
    run = open_run(c, columns=expression.needs_labels(reward.fn))
    engine, tokenizer = run.engine, run.tokenizer
    require_inputs(reward, run)
    workdir = Workdir(folder, c, run.facts)
    checkpoints = Checkpoints(workdir.path / "checkpoints", c.checkpoint.keep)
    sampling = c.mode == "rl"
    kl, verifying = bool(c.kl.coef), "verification" in reward.needs
    rescore = c.rollout.rescore and sampling
    engine.compile_all(progress.stage, sampling=sampling, scoring=kl or rescore, verifying=verifying)

    # ---- state: restored, or the base ----------------------------------------------------------
    restored = checkpoints.restore(engine.state_shapes(), engine.state_layout())
    state, first = restored or (engine.new_state(run.base_params(progress.stage)), 0)
    reference_params = run.base_params(progress.stage) if kl and c.kl.reference == "fixed" else None
    workdir.truncate_after(first if restored else -1)
    watch = evaluate.Watch(run, workdir, progress.stage)
    skipped = SkippedUpdates(c.log.max_skipped_updates, config_lib.updates_per_step(c))
    progress.opened(workdir.path, reward.fn.__name__, first, run.test_time_training)
    progress.notice(notices.of_run(run))
    if first == 0 and run.eval_sets:
        progress.evaluation(watch.of_base(state.params))

    ahead = run.begin(state.params, first + 1) if first < c.steps else None
    for step in range(first + 1, c.steps + 1):
        clock = Clock()
        last = step == c.steps
        # ---- 1 prompts, 2 rollouts -------------------------------------------------------------
        prompts, rollouts = run.finish(ahead)
        clock.lap("rollout")

        # ---- 3 statistics of every token, and the reference's log-probabilities ----------------
        stats = engine.score(state.params, prompts, rollouts) if rescore else rollouts.stats
        ref_logp = np.zeros_like(stats["logp"])
        if kl:
            ref_logp = engine.score(reference_params or state.params, prompts, rollouts)["logp"]
        clock.lap("score")

        # ---- 4 answers, and which are right: for metrics and controls ---------------------------
        texts = tokenizer.decode(rollouts.rows())
        answers = read_answers(texts, c.rollout.group, c.answers.style, run.check.key_of)
        asked = run.labels.of(prompts)
        grade = clock.timed("check", run.check.begin(answers, asked))

        # ---- 5 rewards -------------------------------------------------------------------------
        verify = functools.partial(self_verification.ask, engine, state.params, tokenizer, prompts, step)
        facts = Facts(answers, rollouts, tokenizer, clock.timed("verify", verify))
        with checkpoints.kept(workdir, step - 1, state, watch.held_out_accuracy):
            inputs = reward_inputs(c, reward.needs, facts, prompts, stats, step)
            rewards = step_rewards(reward, inputs, functools.partial(reference_of, grade, asked), step)

        # ---- 6 advantages ----------------------------------------------------------------------
        penalty = kl_penalty(c, stats["logp"], ref_logp, rollouts.mask)
        advantages = step_advantages(c, rewards.values, penalty, rollouts)
        clock.lap("reward")

        # ---- 7 update --------------------------------------------------------------------------
        updates = []
        for batch in engine.minibatches(prompts, rollouts, advantages, stats["logp"], ref_logp):
            state, one = engine.update(state, batch)
            updates.append(one)
        clock.lap("pack")
        # From here on the device works without the host: it ends this update, then rolls out the next step.
        ahead = None if last else run.begin(state.params, step + 1)

        # ---- 8 metrics -------------------------------------------------------------------------
        line = metrics.of_step(c, step, rollouts, answers, rewards, grade(), penalty)
        progress.notice(notices.of_step(c, rollouts, answers, rewards, grade()))
        clock.lap("metrics")
        metrics.add_updates(c, line, jax.device_get(updates), rewards.labelled, rollouts, stats)
        clock.lap("update")
        if watch.due(step, last):
            line.labelled |= watch.evaluate(state.params, step)
            clock.lap("eval")
        if workdir.completions_due(step, last):
            table = metrics.completions_table(c, prompts, rollouts, answers, rewards, asked.gold)
            workdir.completions(step, table)
        line.free |= clock.metrics() | {"perf/compilations": compiles.count}
        line.free |= metrics.of_speed(line.free)
        checkpoints.wait()  # the save that ran beside this step: so a kill repeats <= checkpoint.every
        workdir.metrics.write(line.whole())
        progress.step(step, line.whole())

        # ---- guard and checkpoint --------------------------------------------------------------
        stopped = stop.seen()
        if skipped.too_many(line.free):
            checkpoints.close()
            raise skipped.error(workdir.save_batch(step, prompts, rollouts, advantages))
        if last or stopped or (c.checkpoint.every and step % c.checkpoint.every == 0):
            workdir.sync()
            checkpoints.save(step, state, watch.held_out_accuracy)
        if stopped and not last:
            checkpoints.close()
            progress.say(
                f"stopped by {stopped.name} after step {step}; --workdir {workdir.path} goes on from there"
            )
            return 128 + stopped

    # ---- 9 analysis ----------------------------------------------------------------------------
    checkpoints.close()
    progress.analysis(workdir.path, sampling)
    progress.done(workdir.path, compiles.seconds)
    return 1 if checkpoints.failed else 0


def main(argv: list[str]) -> int:
    verb, *rest = argv[1:] or ["train"]
    if verb not in ("train", *VERBS) or (rest and verb not in WITH_WORDS):
        raise app.UsageError(f"unknown verb {' '.join(argv[1:])!r}; use train, {', '.join(VERBS)}")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.set_verbosity(logging.WARNING)
    configure_jax()
    if flags.FLAGS.coordinator:
        hosts.initialize(flags.FLAGS.coordinator, flags.FLAGS.processes, flags.FLAGS.process_id)
    if verb != "train":
        return importlib.import_module(f"urlvr_jax.verbs.{verb}").run(flags.FLAGS, *rest)
    c = flags.FLAGS.config
    validation.validate(c, jax.device_count(), jax.default_backend())
    if flags.FLAGS.dry_run:
        from urlvr_jax.verbs import dry_run

        return dry_run.run(c)
    experiment = pathlib.Path(config_file(sys.argv) or "default").stem
    return train(c, pathlib.Path(flags.FLAGS.workdir or new_path(experiment)))


def run() -> None:
    shown.guard()
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
    define_flags()
    app.run(friendly(main))


if __name__ == "__main__":
    run()
