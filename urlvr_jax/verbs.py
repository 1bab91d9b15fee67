"""Flags, and the verbs beside training: evaluate, generate, export, score, plan, doctor and others; --dry_run."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import signal
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags

from urlvr_jax import config as config_lib


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config",
        str(pathlib.Path(config_lib.__file__).with_name("config_default.py")),
        "experiment file, FILE:argument if it takes one; --config.a.b=value overrides a key",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", "", "folder of the run; the same folder resumes")
    flags.DEFINE_bool("dry_run", False, "validate, print the resolved configuration and one prompt")
    flags.DEFINE_string("model", "", "evaluate, generate, export, score: a model folder, lab:NAME or a run")
    flags.DEFINE_string(
        "data", "", "evaluate: a question file or dataset; score: completions; answers: responses"
    )
    flags.DEFINE_integer(
        "step", None, "evaluate, generate, export, score: a run's checkpoint; the latest if not given"
    )
    flags.DEFINE_string("hardware", "", "plan: a machine, v5e-16 or h100-8; see docs/plan.md")
    flags.DEFINE_bool("json", False, "plan, doctor: for machines")
    flags.DEFINE_string("prompt", "", "generate: one question; without it they are read from stdin")
    flags.DEFINE_string(
        "out", "", "export: the folder to write; evaluate: a JSON file; rewards: a document"
    )


def config_file(argv: list[str]) -> str:
    """The experiment file as it was typed."""
    for i, word in enumerate(argv):
        if word in ("--config", "-config") and i + 1 < len(argv):
            return argv[i + 1].split(":")[0]
        if word.startswith(("--config=", "-config=")):
            return word.split("=", 1)[1].split(":")[0]
    return ""


def friendly(main):
    """Errors that are about the user's input print as one message and exit with status 2."""

    def run(argv):
        from urlvr_jax.checkpoint import CheckpointError
        from urlvr_jax.grading import GraderError
        from urlvr_jax.models.hf import FolderError
        from urlvr_jax.rewards import RewardError
        from urlvr_jax.train_step import NonFiniteError
        from urlvr_jax.types import DataError, UndeclaredError
        from urlvr_jax.workdir import WorkdirError

        expected = (
            config_lib.ConfigError, DataError, FolderError, RewardError, WorkdirError, CheckpointError,
            NonFiniteError, UndeclaredError, GraderError,
        )  # fmt: skip

        try:
            if (file := config_file(sys.argv)) and not pathlib.Path(file).is_file():
                raise config_lib.ConfigError(f"--config: experiment file {file!r} does not exist")
            status = main(argv)
            sys.stdout.flush()
            sys.exit(status)
        except BrokenPipeError:  # whoever read our output, `| head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except expected as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            print(
                f"error: {error}: free some space and run the same command again; with its --workdir it "
                "goes on from the latest checkpoint",
                file=sys.stderr,
            )
            sys.exit(2)

    return run


def dry_run(c) -> int:
    """Validate against the files too; print the resolved configuration and one rendered prompt."""
    from urlvr_jax import analysis, data, rewards
    from urlvr_jax.loading import open_run, require_inputs

    fn = rewards.constant if c.mode == "supervised" else rewards.load(c.reward.name, c.reward.fn)
    shadows = rewards.load_shadows(c.reward.shadow)
    run = open_run(c)
    require_inputs((fn, *shadows), run)
    print(json.dumps(config_lib.flat(c), indent=1, sort_keys=True))
    tokenizer = run.tokenizer
    prompts = data.prompts_at(run.questions, 1, 1, c.seed, c.data.shuffle)
    print(f"stop ids: {list(tokenizer.stop_ids)} {tokenizer.hf.convert_ids_to_tokens(tokenizer.stop_ids)}")
    print(f"first prompt: {prompts.texts[0]!r}")
    print(f"its ids: {prompts.tokens[0][: prompts.lengths[0]].tolist()}")
    print(f"its gold answer: {run.labels.gold.get(prompts.ids[0])!r}, for metrics and verifiers only")
    for name, questions, labels in ((c.data.train, run.questions, run.labels), *run.eval_sets):
        print(_of_questions(name, questions, labels))
    if trained := run.test_time_training:
        print(analysis.test_time_text(trained))
    print(f"{run.facts['parameters']} parameters, {config_lib.rows_per_step(c)} rollouts a step")
    return 0


def _of_questions(name: str, questions, labels) -> str:
    """One line about a question file."""
    origin = questions.origin
    text = (
        f"{name}: {len(questions)} questions ({questions.overlong} too long, left out), {len(labels.gold)} with a "
        f"gold answer; {origin.rows} rows, read as {origin.shape}"
    )
    if origin.duplicates:
        text += f"; {origin.duplicates} duplicates left out, {origin.conflicts} questions with other answers there"
    if origin.control:
        text += f"; {origin.control} with the text of a control token, encoded as ordinary text"
    return text


def _open(flag):
    """Configuration, engine, rollout-layout parameters and tokenizer for --model."""
    import jax

    from urlvr_jax.checkpoint import Checkpoints
    from urlvr_jax.engine import Engine
    from urlvr_jax.loading import open_model
    from urlvr_jax.models import hf

    c, model = flag.config, flag.model
    if not model:
        raise config_lib.ConfigError("--model is missing: give a model folder, lab:NAME or a run's folder")
    is_run = (pathlib.Path(model) / "config.json").is_file() and (
        pathlib.Path(model) / "record.json"
    ).is_file()
    if is_run:
        _adopt(c, json.loads((pathlib.Path(model) / "config.json").read_text()), config_file(sys.argv))
    else:
        c.model.path = model
    config_lib.validate(c, jax.device_count())
    path, model_config, tokenizer = open_model(c)
    engine = Engine(c, model_config, tokenizer.stop_ids)
    if is_run:
        checkpoints = Checkpoints(pathlib.Path(model) / "checkpoints", c.checkpoint.keep, read_only=True)
        restored = checkpoints.restore(engine.state_shapes(), engine.state_layout(), flag.step)
        if restored is None:
            raise config_lib.ConfigError(f"--model={model}: this run has no checkpoint yet")
        params, step = restored[0].params, restored[1]
    else:
        params, step = hf.load(path, model_config, engine.training), None
    return c, engine, params, tokenizer, path, step


def _adopt(c, recorded: dict, file: str) -> None:
    """Take the run's own configuration, or of it the model alone where an experiment file was given;
    what was typed on the command line goes before."""
    typed = {w.split("=")[0].removeprefix("--config.") for w in sys.argv if w.startswith("--config.")}
    if "reward.name" in typed:
        typed.add("reward.fn")  # which goes before the name: the run's must not go before what was typed
    for key, value in recorded.items():
        if key in typed or (file and not key.startswith("model.")):
            continue
        *parents, leaf = key.split(".")
        node: ml_collections.ConfigDict = c
        for part in parents:
            node = node[part]
        node[leaf] = tuple(value) if isinstance(value, list) else value


def evaluate(flag) -> int:
    """avg/maj/pass@k of a model on a question file; one JSON object on standard output."""
    from urlvr_jax import evaluate as evaluation
    from urlvr_jax.loading import open_evaluation, open_prompt_format

    c, engine, params, tokenizer, _, step = _open(flag)
    results, prompt_format = {}, open_prompt_format(c, tokenizer)
    for name in [flag.data] if flag.data else c.eval.sets:
        questions, labels = open_evaluation(c, name, prompt_format)
        result = evaluation.evaluate(
            engine, engine.to_rollout(params), tokenizer, questions, labels, step or 0
        )
        results[name] = {"questions": len(questions), "too_long": questions.overlong, **result.metrics()}
    options = {"temperature": c.eval.temperature, "top_p": c.eval.top_p, "seed": c.seed}
    text = json.dumps({"model": flag.model, "step": step, **options, "sets": results}, indent=1)
    print(text)
    if flag.out:
        pathlib.Path(flag.out).write_text(text + "\n")
    return 0


def generate(flag) -> int:
    """Print completions of --prompt, or of the lines of standard input."""
    from urlvr_jax import data
    from urlvr_jax.evaluate import responses
    from urlvr_jax.loading import open_prompt_format

    c, engine, params, tokenizer, _, step = _open(flag)
    lines = [flag.prompt] if flag.prompt else [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not lines:
        raise data.DataError("generate: no prompt; give --prompt or lines on standard input")

    texts, tokens, _ = open_prompt_format(c, tokenizer).encode(lines)
    widest = c.data.prompt_buckets[-1]
    for text, ids in zip(texts, tokens, strict=True):
        if not 1 <= len(ids) <= widest:
            raise data.DataError(f"prompt {text[:60]!r} has {len(ids)} tokens; 1 to {widest} fit")
    ids = tuple(map(str, range(len(texts))))
    questions = data.Questions(ids, tuple(texts), tuple(tokens), tuple(c.data.prompt_buckets), 0, "")
    options = dict(k=c.eval.k, temperature=c.eval.temperature, top_p=c.eval.top_p)
    params = engine.to_rollout(params)
    for real, _, out in responses(
        engine, params, tokenizer, questions, step or 0, stream="generate", **options
    ):
        for row, text in enumerate(out):
            print(f"{questions.texts[real[row // c.eval.k]]}\t{text}")
    return 0


def export(flag) -> int:
    """Write a Hugging Face folder from a run's checkpoint or a model; done when it reads back the same:
    every tensor, and the logits of one prompt."""
    import numpy as np

    from urlvr_jax.loading import open_model
    from urlvr_jax.models import hf, transformer
    from urlvr_jax.score import whole_logits

    if not flag.out:
        raise config_lib.ConfigError("--out is missing: the folder to write")
    c, engine, params, tokenizer, source, step = _open(flag)
    out = pathlib.Path(flag.out)
    hf.save(out, params, engine.model_config, source, tokenizer)
    c.model.path = str(out)
    path, model_config, _ = open_model(c)
    again = hf.load(path, model_config, engine.training)
    for name, value in params.items():
        if not np.array_equal(again[name], value):
            raise hf.FolderError(f"{out}: {name!r} does not read back as it was written")
    tokens = np.arange(64, dtype=np.int32)[None] % model_config.vocab_size
    before = whole_logits(engine.graph, params, tokens)
    if not np.array_equal(before, whole_logits(transformer.structure(model_config)[0], again, tokens)):
        raise hf.FolderError(f"{out}: the logits of its weights are not those of the model exported")
    of = f" of step {step}" if step is not None else ""
    print(
        f"{os.fspath(out)}: {len(params)} tensors{of}, read back and compared, as were the logits of "
        f"{tokens.size} tokens"
    )
    return 0


def score(flag) -> int:
    """Rewards of saved completions; one JSON line a row on standard output."""
    from urlvr_jax import completions

    if not flag.data:
        raise config_lib.ConfigError("--data is missing: JSON lines with `prompt` and `response`")
    rows = completions.read(flag.data)  # before the model, which takes longer
    _, engine, params, tokenizer, _, step = _open(flag)
    for line in completions.score(engine, params, tokenizer, rows, step or 0):
        print(json.dumps(line))
    return 0


def rewards(flag) -> int:
    """Every reward with its formula; with --out the table in that document is written anew."""
    from urlvr_jax.rewards import table

    if flag.out:
        path = pathlib.Path(flag.out)
        path.write_text(table.replaced(path.read_text()))
    else:
        print(table.text())
    return 0


def answers(flag) -> int:
    """What is read from each response of --data; one JSON object a line, the summary on standard error."""
    from urlvr_jax.reading import read_file

    config_lib.validate_answers(flag.config)
    if not flag.data:
        raise config_lib.ConfigError(
            "--data is missing: JSON lines with `response`, and `answer` if there is one"
        )
    return read_file(flag.config.answers, flag.data)


def plan(flag) -> int:
    """Memory, meshes, slots and time of an experiment, without weights, devices or compiling."""
    from urlvr_jax import plan as planning

    found = planning.report(flag.config, flag.hardware)
    print(json.dumps(found, indent=1) if flag.json else planning.text(found))
    return 0


def doctor(flag) -> int:
    """What would go wrong here, before anything loads; exit status 1 if something would."""
    from urlvr_jax import doctor as checks
    from urlvr_jax.main import CACHE

    findings = checks.examine(flag.config, pathlib.Path(flag.workdir or "runs"), CACHE / "xla")
    print(json.dumps([f._asdict() for f in findings], indent=1) if flag.json else checks.text(findings))
    return int(any(f.status == "fail" for f in findings))


VERBS = {
    "evaluate": evaluate, "generate": generate, "export": export, "score": score, "rewards": rewards,
    "answers": answers, "plan": plan, "doctor": doctor,
}  # fmt: skip
