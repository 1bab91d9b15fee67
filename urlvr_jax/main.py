"""Train a language model by rewards without labels; also evaluate, generate, export, score, answers.

The story of the data, one step:

    1  prompts      a function of (seed, step); gold answers live apart      questions.py, prompts.py, data.py
    2  rollouts     G responses a prompt, at temperature T                         sample.py
    3  statistics   log-prob, entropy, self-certainty, top-2 gap of every token    score.py
    4  answers      text -> canonical keys -> classes within a group               answers.py
    5  rewards      a pure function of statistics, answers and lengths             rewards/
    6  advantages   rewards against the rest of their group                        advantages.py
    7  update       clipped policy gradient, KL if asked for               objective.py, train_step.py
    8  metrics      what happened, against labels where there are any              metrics.py, evaluate.py
    9  analysis     rise, fall, collapse step, figure                              analysis.py

    python -m urlvr_jax.main --config experiments/selfcert.py [--config.optim.lr=1e-4] [--workdir DIR]
    python -m urlvr_jax.main evaluate --model FOLDER_OR_RUN [--data FILE] [--config experiments/x.py]
    python -m urlvr_jax.main generate --model FOLDER_OR_RUN --prompt "Q16-13+2?"
    python -m urlvr_jax.main export --model RUN --out FOLDER
    python -m urlvr_jax.main score --model FOLDER_OR_RUN --data COMPLETIONS --config.reward.name=NAME
    python -m urlvr_jax.main rewards
    python -m urlvr_jax.main answers --data RESPONSES --config.answers.style=boxed
    python -m urlvr_jax.main plan --config experiments/x.py --hardware v5e-16
    python -m urlvr_jax.main doctor --config experiments/x.py
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import sys
import time

from absl import app, flags, logging

from urlvr_jax import config as config_lib

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "urlvr_jax"


def train(c, workdir_path: pathlib.Path) -> int:
    """Run an experiment to `c.steps`, or from where its workdir stands. Returns the exit status."""
    import jax
    import numpy as np

    from urlvr_jax import analysis, data, evaluate, metrics, rewards, verification
    from urlvr_jax.advantages import kl_penalty, step_advantages
    from urlvr_jax.checkpoint import Checkpoints
    from urlvr_jax.engine import CompileCounter, random_key
    from urlvr_jax.judge import judge
    from urlvr_jax.loading import open_run, require_inputs
    from urlvr_jax.progress import Progress
    from urlvr_jax.train_step import NonFiniteError
    from urlvr_jax.workdir import Workdir

    began, compiles, stop = time.perf_counter(), CompileCounter(), StopSignal()

    # ---- everything that can be wrong is found here, before the first step ---------------------
    supervised = c.mode == "supervised"
    reward_fn = rewards.constant if supervised else rewards.load(c.reward.name, c.reward.fn)
    shadows = rewards.load_shadows(c.reward.shadow)
    run = open_run(c)
    engine, tokenizer, questions, labels = run.engine, run.tokenizer, run.questions, run.labels
    require_inputs((reward_fn, *shadows), run)
    workdir = Workdir(workdir_path, c, run.facts)
    checkpoints = Checkpoints(workdir.path / "checkpoints", c.checkpoint.keep)
    kl_on = bool(c.kl.coef)
    kl_in_reward = kl_on and c.kl.place == "reward"
    rescore = c.rollout.rescore and not supervised
    verifying = any("verification" in rewards.needs_of(fn) for fn in (reward_fn, *shadows))
    engine.compile_all(sampling=not supervised, scoring=kl_on or rescore, verifying=verifying)

    # ---- state: restored, or the base ----------------------------------------------------------
    restored = checkpoints.restore(engine.state_shapes(), engine.state_layout())
    state, first = restored or (engine.new_state(run.base_params()), 0)
    workdir.truncate_after(first if restored else -1)
    reference_params = run.base_params() if kl_on and c.kl.reference == "fixed" else None
    progress, skipped_in_a_row = Progress(c.steps), 0
    score_name = f"eval/{run.eval_sets[0][0]}/avg@{c.eval.k}" if run.eval_sets else None
    score = analysis.last_value(workdir.path, score_name)  # ranks the best checkpoint
    progress.say(f"{workdir.path}: {reward_fn.__name__}, from step {first}")
    if trained := run.test_time_training:
        progress.say(analysis.test_time_text(trained))

    def held_out(step: int) -> dict:
        """Evaluate on every question file; one metric line's worth, and the per-question results."""
        out, params = {}, engine.to_rollout(state.params)
        for name, held_questions, held_labels in run.eval_sets:
            result = evaluate.evaluate(engine, params, tokenizer, held_questions, held_labels, step)
            out |= {f"eval/{name}/{k}": v for k, v in result.metrics().items()}
            workdir.evals.write(
                {
                    "step": step,
                    "set": name,
                    "k": result.k,
                    "correct": result.correct.tolist(),
                    "majority": result.majority.astype(int).tolist(),
                }
            )
        return out

    if first == 0 and run.eval_sets:
        line = {"step": 0, **held_out(0)}
        workdir.metrics.write(line)
        progress.say(analysis.eval_text(line, trained))

    def begin(step: int):
        """The prompts of a step, and its rollouts under way; in supervised mode its documents."""
        if supervised:
            return run.documents(step)
        prompts = data.prompts_at(questions, step, c.data.prompts_per_step, c.seed, c.data.shuffle)
        return prompts, engine.start_sample(
            engine.to_rollout(state.params), prompts, random_key(c.seed, "rollout", step),
            slots=config_lib.slots(c), temperature=c.rollout.temperature,
        )  # fmt: skip

    ahead = begin(first + 1) if first < c.steps else None
    for step in range(first + 1, c.steps + 1):
        clock = Clock()
        # ---- 1 prompts, 2 rollouts, 3 statistics -----------------------------------------------
        prompts, rollouts = ahead
        if not supervised:
            rollouts = engine.finish_sample(rollouts)
        clock.lap("rollout")
        stats = engine.score(state.params, prompts, rollouts) if rescore else rollouts.stats
        ref_logp = np.zeros_like(stats["logp"])
        if kl_on:
            ref_logp = engine.score(reference_params or state.params, prompts, rollouts)["logp"]
        clock.lap("score")

        # ---- 4 answers, 5 rewards, 6 advantages ------------------------------------------------
        verify = functools.partial(
            verification.ask, c, engine, state.params, tokenizer, prompts,
            key=random_key(c.seed, "verify", step),
        )  # fmt: skip
        judged = judge(c, reward_fn, tokenizer, labels, prompts, rollouts, stats, step, shadows, verify)
        penalty = kl_penalty(c, stats["logp"], ref_logp, rollouts.mask) if kl_in_reward else None
        advantage = step_advantages(c, judged.reward, penalty, rollouts)
        clock.lap("reward")

        # ---- 7 update --------------------------------------------------------------------------
        batch_metrics = []
        for batch in engine.minibatches(prompts, rollouts, advantage, stats["logp"], ref_logp):
            state, one = engine.update(state, batch)
            batch_metrics.append(one)
        clock.lap("pack")
        # From here on the device works without the host: it ends this update, then rolls out the next step.
        ahead = begin(step + 1) if step < c.steps else None

        # ---- 8 metrics -------------------------------------------------------------------------
        line = {"step": step}
        line |= metrics.of_rollouts(rollouts, c.log.repetition_ngram)
        if not supervised:
            kept = config_lib.train_group(c)
            line |= metrics.of_rewards(judged.reward[:, :kept])
            line |= metrics.of_terms({name: x[:, :kept] for name, x in judged.terms.items()})
            line |= metrics.of_shadows(judged.shadows, judged.correct)
            line |= metrics.of_votes(judged.classes, judged.label, judged.correct)
            if judged.verdicts is not None:
                line |= verification.metrics(judged.verdicts, judged.correct)
        if kl_in_reward:
            line["actor/kl"] = float(penalty.sum() / -c.kl.coef / rollouts.lengths.sum())
        clock.lap("metrics")
        line |= metrics.of_updates(jax.device_get(batch_metrics))
        clock.lap("update")
        last = step == c.steps
        if run.eval_sets and (step % c.eval.every == 0 or last):
            evaluation = held_out(step)
            score = evaluation[score_name]
            line |= evaluation
            clock.lap("eval")
        due = c.log.completions_every and (step % c.log.completions_every == 0 or last)
        if due and not supervised:
            workdir.completions(step, metrics.table(c, prompts, judged, rollouts))
        line |= clock.metrics() | {"perf/compilations": compiles.count}
        line["perf/tokens_per_s"] = line["perf/rollout_tokens"] / line["timing_s/step"]
        line["perf/device_idle"] = (line["timing_s/reward"] + line["timing_s/pack"]) / line["timing_s/step"]
        checkpoints.wait()  # the save that ran beside this step: so a kill repeats <= checkpoint.every
        workdir.metrics.write(line)
        progress.step(step, line)
        if any(name.startswith("eval/") for name in line):
            progress.say(analysis.eval_text(line, trained))

        # ---- guard and checkpoint --------------------------------------------------------------
        skipped = line["actor/skipped_updates"] == config_lib.updates_per_step(c)  # not one was applied
        skipped_in_a_row = skipped_in_a_row + 1 if skipped else 0
        if skipped_in_a_row >= c.log.max_skipped_updates:
            file = workdir.save_batch(step, prompts, rollouts, advantage)
            checkpoints.close()
            raise NonFiniteError(
                f"loss or gradient was not finite in {skipped_in_a_row} steps in a row; parameters "
                f"are as before them, the last batch is in {file}"
            )
        if last or stop.signal or (c.checkpoint.every and step % c.checkpoint.every == 0):
            workdir.metrics.sync()
            workdir.evals.sync()
            checkpoints.save(step, state, score)
        if stop.signal and not last:
            checkpoints.close()
            progress.say(
                f"stopped by {stop.signal.name} after step {step}; --workdir {workdir.path} goes on from there"
            )
            return 128 + stop.signal

    # ---- 9 analysis ----------------------------------------------------------------------------
    checkpoints.close()
    progress.say(analysis.summary(workdir.path))
    if not supervised:
        progress.say(f"figure: {analysis.rise_and_fall(workdir.path)}")
    minutes = (time.perf_counter() - began) / 60
    progress.say(f"{workdir.path}: done in {minutes:.1f} min, {compiles.seconds:.0f} s of it compiling")
    return 1 if checkpoints.failed else 0


class Clock:
    """Seconds of each phase of a step."""

    def __init__(self):
        self._began = self._last = time.perf_counter()
        self._laps = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[f"timing_s/{name}"] = now - self._last
        self._last = now

    def metrics(self) -> dict[str, float]:
        return self._laps | {"timing_s/step": time.perf_counter() - self._began}


class StopSignal:
    """Remembers Ctrl-C or SIGTERM until the step is done; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: a caller of `train`
                signal.signal(number, self._note)

    def _note(self, number, _frame):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


def configure_jax() -> None:
    """The only place that touches jax.config: a compilation cache for every compile."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(CACHE / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def main(argv: list[str]) -> int:
    from urlvr_jax import verbs

    verb, *rest = argv[1:] or ["train"]
    if rest or verb not in ("train", *verbs.VERBS):
        raise app.UsageError(f"unknown verb {' '.join(argv[1:])!r}; use train, {', '.join(verbs.VERBS)}")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.set_verbosity(logging.WARNING)
    configure_jax()
    if verb != "train":
        return verbs.VERBS[verb](flags.FLAGS)
    c = flags.FLAGS.config
    import jax

    config_lib.validate(c, jax.device_count())
    if flags.FLAGS.dry_run:
        return verbs.dry_run(c)
    experiment = pathlib.Path(verbs.config_file(sys.argv) or "default").stem
    from urlvr_jax.workdir import new_path

    return train(c, pathlib.Path(flags.FLAGS.workdir or new_path(experiment)))


def run() -> None:
    from urlvr_jax import verbs

    verbs.define_flags()
    app.run(verbs.friendly(main))


if __name__ == "__main__":
    run()
