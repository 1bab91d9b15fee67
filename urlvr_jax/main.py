"""Train a language model by rewards without labels; every other verb stands in `verbs/`.

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
    python -m urlvr_jax.main --help
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys

import jax
import numpy as np
from absl import app, flags, logging

from urlvr_jax import config as config_lib
from urlvr_jax.learning.advantages import kl_penalty, sampler_weights, step_advantages
from urlvr_jax.learning.step import SkippedUpdates
from urlvr_jax.measure import collapse, evaluate, metrics, notices
from urlvr_jax.measure.warning import EarlyWarning
from urlvr_jax.rewards import expression, supplied
from urlvr_jax.rewards.compute import reference_of, reward_inputs, step_rewards
from urlvr_jax.rewards.derived import SECOND_GENERATION, Facts
from urlvr_jax.runtime import hosts, judges, own_rows, settled
from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.clock import Clock, CompileCounter
from urlvr_jax.runtime.compile_cache import configure_jax
from urlvr_jax.runtime.opening import open_run, require_inputs
from urlvr_jax.runtime.progress import Progress
from urlvr_jax.runtime.signals import StopSignal
from urlvr_jax.runtime.workdir import Workdir, new_path
from urlvr_jax.sinks.processes import Sinks
from urlvr_jax.untrusted import shown
from urlvr_jax.verbs import VERBS, command_line
from urlvr_jax.verbs.command_line import Given
from urlvr_jax.verbs.flags import friendly


def train(c, folder: str | os.PathLike) -> int:
    """Run an experiment to `c.steps`, or from where its folder stands. Returns the exit status."""
    with contextlib.ExitStack() as opened:
        return _train(c, folder, opened)


def _train(c, folder: str | os.PathLike, opened: contextlib.ExitStack) -> int:
    progress = Progress(c.steps)
    compiles, stop = CompileCounter(), StopSignal()

    # ---- everything that can be wrong is found here, before the first step ---------------------
    reward = expression.load_configured(c)
    run = open_run(c, columns=expression.needs_labels(reward.fn))
    engine, tokenizer = run.engine, run.tokenizer
    require_inputs(reward, run)
    workdir = opened.enter_context(Workdir(folder, c, run.facts))
    checkpoints = Checkpoints(workdir.checkpoints, c.checkpoint.keep, workdir.warn)
    sampling, kl = c.mode == "rl", bool(c.kl.coef) or c.kl.watch
    rescore = c.rollout.rescore and sampling
    judging = judges.Judging(run, bool(SECOND_GENERATION & reward.needs), progress.stage)
    engine.compile_all(progress.stage, sampling=sampling, scoring=kl or rescore, needs=reward.needs)

    # ---- state: restored, or the base ----------------------------------------------------------
    restored = checkpoints.restore(engine.state_shapes(), engine.state_layout())
    state, first = run.state(restored, progress.stage)
    base = run.held_base(kl, reward.needs, progress.stage)
    workdir.truncate_after(first if restored else -1)
    sinks = Sinks(c.log.sinks, workdir.path, workdir.writes)
    watch = evaluate.Watch(run, workdir, progress.stage)
    early = EarlyWarning(c, workdir)
    checkpoints.keep_before(early)
    skipped = SkippedUpdates(c.log.max_skipped_updates, config_lib.updates_per_step(c))
    progress.opened(workdir, reward.fn.__name__, first, run.test_time_training)
    progress.notice(notices.of_run(run))
    if first == 0 and run.eval_sets:
        progress.evaluation(watch.of_base(state.params))

    steps = first if early.stops or watch.probe.stops or collapse.until_mcs(c, workdir) else c.steps
    ahead = run.begin(state.params, first + 1) if first < steps else None
    for step in range(first + 1, steps + 1):
        clock = Clock()
        last = step == steps
        # ---- 1 prompts, 2 rollouts -------------------------------------------------------------
        prompts, rollouts = run.finish(ahead)
        clock.lap("rollout")

        # ---- 3 statistics of every token, and the reference's log-probabilities ----------------
        stats = engine.score(state.params, prompts, rollouts) if rescore else rollouts.stats
        given = supplied.Supplied(engine, state.params, base, tokenizer, prompts, rollouts)
        ref_logp = given.reference_logp if kl else np.zeros_like(stats["logp"])
        clock.lap("score")

        # ---- 4 answers, and which are right: for metrics and controls ---------------------------
        answers = own_rows.read(c, tokenizer, rollouts.rows(), c.rollout.group, run.check)
        asked = run.labels.of(prompts)
        grade = clock.timed("check", own_rows.begin(run.check, answers, asked))

        # ---- 5 rewards -------------------------------------------------------------------------
        verify = judging.asked(state.params, base, prompts, step, answers.texts)
        timed = clock.timed("verify", verify), clock.timed("supplied", given.of)
        facts = Facts(answers, rollouts, tokenizer, *timed)
        with checkpoints.kept(workdir, step - 1, state, watch.held_out_accuracy):
            inputs = reward_inputs(c, reward.needs, facts, prompts, stats, step)
            rewards = step_rewards(reward, inputs, functools.partial(reference_of, grade, asked), step)

        # ---- 6 advantages ----------------------------------------------------------------------
        penalty = kl_penalty(c, stats["logp"], ref_logp, rollouts.mask)
        weights = sampler_weights(c, stats["logp"], rollouts.stats["logp"], rollouts.mask)
        advantages = step_advantages(c, rewards.values, penalty, rollouts, weights)
        clock.lap("reward")

        # ---- 7 update --------------------------------------------------------------------------
        updates = []
        for batch in engine.minibatches(prompts, rollouts, advantages, stats["logp"], ref_logp):
            state, one = engine.update(state, batch)
            updates.append(one)
        state, lesson = judging.teach(state, answers.classes, verify)
        early.look(engine, state.params, step)
        clock.lap("pack")
        # From here on the device works without the host: it ends this update, then rolls out the next step.
        ahead = None if last else run.begin(state.params, step + 1)

        # ---- 8 metrics -------------------------------------------------------------------------
        line = metrics.of_step(c, step, rollouts, answers, rewards, grade(), stats, ref_logp)
        line.free |= early.votes(step, prompts, rollouts, answers, grade().correct)
        clock.lap("metrics")
        metrics.add_updates(c, line, jax.device_get(updates), rewards.labelled, rollouts, stats, weights)
        line.free |= metrics.of_lesson(jax.device_get(lesson))
        line.free |= early.see(step, line.free)
        progress.notice(notices.of_step(c, rollouts, answers, rewards, grade()) | early.notices())
        clock.lap("update")
        last = last or early.stops or (c.collapse.until_mcs and collapse.is_mcs(line.labelled))
        if watch.due(step, last):
            line.labelled |= watch.evaluate(state.params, step, progress.notice)
            last = last or watch.probe.stops
            clock.lap("eval")
        if workdir.completions_due(step, last):
            table = metrics.completions_table(c, prompts, rollouts, answers, rewards, asked, grade())
            workdir.completions(step, table)
        line.free |= clock.metrics() | {"perf/compilations": compiles.count}
        line.free |= metrics.of_speed(line.free)
        checkpoints.wait()  # the save that ran beside this step: so a kill repeats <= checkpoint.every
        workdir.metrics.write(line.whole())
        progress.step(step, line.whole())
        sinks.look()

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
            progress.stopped(workdir.name, stopped.name, step)
            return sinks.close(128 + stopped)
        if last:
            break

    # ---- 9 analysis ----------------------------------------------------------------------------
    checkpoints.close()
    progress.analysis(workdir.path, sampling)
    if early.alarm:
        progress.say(checkpoints.text_before(early.alarm))
    sinks.close(int(checkpoints.failed > 0))
    progress.done(workdir.name, compiles.seconds)
    return 1 if checkpoints.failed else workdir.finished()


def main(given: Given) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.set_verbosity(logging.WARNING)
    configure_jax()
    flag = given.flags
    if "processes" in VERBS[given.verb].flags:
        hosts.join(flag.coordinator, flag.processes, flag.process_id, given.facts)
    status = _run(given)
    hosts.leave()
    return status


def _run(given: Given) -> int:
    flag = given.flags
    if given.verb != "train":
        return importlib.import_module(f"urlvr_jax.verbs.{given.verb}").run(flag, *given.words)
    c = settled.here(flag.config)
    if flag.dry_run:
        from urlvr_jax.verbs import dry_run

        return dry_run.run(c)
    return train(c, flag.workdir or new_path(given.name))


def run() -> None:
    shown.guard()
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
    flags.FLAGS(sys.argv[:1])  # absl's own flags stay at their defaults
    guarded = friendly(main, hosts.leave_with, hosts.wait_for_the_cause)
    app.run(guarded, flags_parser=friendly(command_line.parse))


if __name__ == "__main__":
    run()
