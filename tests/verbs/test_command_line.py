"""The command line: help, keys and values as a newcomer types them, and one line for each mistake."""

import json

import pytest

from urlvr_jax import config
from urlvr_jax.errors import UserError
from urlvr_jax.verbs import VERBS, command_line, help, names, overrides
from urlvr_jax.verbs.flags import FLAGS

KEYS = set(config.flat(config.default()))


def parsed(*words):
    return command_line.parse(["main.py", *words])


def refused(*words) -> str:
    """The one line that is said of these words."""
    with pytest.raises(UserError) as error:
        parsed(*words)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- help -----------------------------------------------------------------------------------


def test_help_names_every_verb_and_every_flag_is_some_verbs():
    text = help.of_project()
    for name, verb in VERBS.items():
        assert f"\n    {name} " in text and verb.does in text
    assert set(FLAGS) == {flag for verb in VERBS.values() for flag in verb.flags}
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_its_own_flags_and_an_example_that_parses(verb, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*([] if verb == "train" else [verb]), "--help", *([verb] if verb == "train" else []))
    text = capsys.readouterr().out
    assert end.value.code == 0 and VERBS[verb].example in text
    for flag in FLAGS:
        assert (f"\n    --{flag} " in text) == (flag in VERBS[verb].flags)
    words = VERBS[verb].example.replace("'", "").split()
    assert parsed(*words).verb == verb


def test_no_word_at_all_prints_help_on_standard_error_with_status_2(capsys):
    with pytest.raises(SystemExit) as end:
        parsed()
    out, err = capsys.readouterr()
    assert end.value.code == 2 and not out and err == help.of_project() + "\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["--config", "x.py", "--help"]])
def test_help_of_the_project_goes_to_standard_output(words, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*words)
    assert end.value.code == 0 and capsys.readouterr().out == help.of_project() + "\n"


# ---- verbs and flags ------------------------------------------------------------------------


def test_the_words_become_a_verb_with_flags_and_a_configuration():
    given = parsed("--config.steps", "5", "generate", "--prompt", "Q1+2?", "--model=lab:plain", "--step=3")
    assert given.verb == "generate" and given.words == ()
    assert (given.flags.prompt, given.flags.model, given.flags.step) == ("Q1+2?", "lab:plain", 3)
    assert given.flags.config.steps == 5 and given.flags.typed == {"steps": 5}
    assert parsed("study", "grid", "check").words == ("grid", "check")
    assert parsed("--config.steps=5").verb == parsed("--workdir", "runs/x").verb == "train"
    experiment = parsed("--config.steps=5", "--config", "experiments/grid.py")
    assert experiment.flags.config.steps == 5 and experiment.name == "grid"
    assert "my_data.py" in refused("--config", "experiments/my_data.py:questions.json"), (
        "its argument is no run"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "'trian' did you mean train? evaluate export"),
        (["evaluate", "lab:plain"], "evaluate 'lab:plain' --model --help"),
        (["plan", "grid"], "plan 'grid' options `plan --help`"),
        (["optim.lr=1"], "--config.optim.lr=1"),
        (["num_generations=4"], "--config.rollout.group=4"),
        (["experiments/grid.py"], "--config experiments/grid.py"),
        (["--lr=1e-5"], "--lr no option --config.optim.lr=1e-5"),
        (["--num-generations", "4"], "--num-generations --config.rollout.group="),
        (["--output_dir=x"], "--output_dir --workdir=x"),
        (["--dryrun"], "--dryrun --dry_run?"),
        (["generate", "--modle=x"], "--modle --model?"),
        (["--zzz"], "--zzz --help"),
        (["--model=lab:plain"], "--model train evaluate --config.model.path=lab:plain"),
        (["export", "--data=x"], "--data export evaluate score answers `export --help`"),
        (["study", "grid", "run", "--jobs=two"], "--jobs=two whole number"),
        (["plan", "--json=maybe"], "--json=maybe true false"),
        (["generate", "--prompt"], "--prompt"),
        (["--config"], "--config=experiments/selfcert.py"),
        (["--config="], "--config empty"),
        (["--config", "experiments/nope.py"], "experiments/nope.py exist"),
        (["--config", "README.md"], "README.md experiment file run's folder"),
        (["--config", "experiments"], "'experiments' run's folder record.json"),
        (["--config", "tests/helpers.py"], "tests/helpers.py get_config"),
        (["generate", "--prompt", "\udcff"], "UTF-8"),
    ],
)
def test_a_word_that_cannot_be_meant_is_one_line_with_what_can(words, expected):
    said = refused(*words)
    for word in expected.split():
        assert word in said, said


# ---- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("reward.nme=x", "--config.reward.name=x"),
        ("optim.lrr=1", "--config.optim.lr=1"),
        ("learning_rate=1e-5", "--config.optim.lr=1e-5"),
        ("optim.learning_rate=1e-5", "--config.optim.lr=1e-5"),
        ("lr=1e-5", "--config.optim.lr=1e-5"),
        ("actor_rollout_ref.actor.optim.lr=1", "--config.optim.lr=1"),
        ("actor_rollout_ref.rollout.n=8", "--config.rollout.group=8"),
        ("actor_rollout_ref.rollout.temperature=1", "--config.rollout.temperature=1"),
        ("data.train_batch_size=64", "--config.data.prompts_per_step=64"),
        ("algorithm.kl_ctrl.kl_coef=0.1", "--config.kl.coef=0.1"),
        ("beta=0.1", "--config.kl.coef=0.1"),
        ("num_generation=8", "--config.rollout.group=8"),
        (
            "per_device_train_batch_size=4",
            "--config.optim.minibatch_prompts=4 or --config.optim.micro_rows=4",
        ),
        ("clip_ratio=0.3", "--config.loss.clip_low=0.3 --config.loss.clip_high=0.3"),
        ("max_completion_length=9", "mean --config.rollout.max_new_tokens=9?"),
        (
            "temperature=1",
            "mean --config.rollout.temperature=1 or --config.eval.temperature=1 --config.verify.",
        ),
        ("output_dir=here", "--workdir=here"),
        ("optim=3", "optim optim.lr, optim.schedule"),
        ("optim.zzz=3", "optim optim.lr, optim.schedule"),
        ("zzz=3", "nor near urlvr_jax/config.py"),
        ("zzz." + "y" * 200 + "=" + "3" * 200, "urlvr_jax/config.py"),
    ],
)
def test_a_key_that_is_not_one_is_one_line_with_the_key_that_is(typed, expected):
    said = refused(f"--config.{typed}")
    assert said.startswith(f"--config.{typed.partition('=')[0]} is no key")
    for word in expected.split():
        assert word in said, said


def test_every_name_from_elsewhere_leads_to_keys_or_flags_that_exist():
    for name, there in names.ELSEWHERE.items():
        assert name not in KEYS
        for one in there.replace("|", " ").split():
            assert one in KEYS or one.removeprefix("--") in FLAGS, name


# ---- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("steps=1e2", 100),
        ("steps=100.0", 100),
        ("optim.lr=1", 1.0),
        ("optim.lr=1e-5", 1e-5),
        ("mesh.data=-1", -1),
        ("model.remat", True),
        ("model.remat=yes", True),
        ("model.remat=False", False),
        ("reward.name=", ""),
        ("reward.name=a=b", "a=b"),
        ("data.prompt_buckets=16", (16,)),
        ("data.prompt_buckets=16,32", (16, 32)),
        ("data.prompt_buckets=(16, 32)", (16, 32)),
        ("data.prompt_buckets=[16,1e2]", (16, 100)),
        ("data.prompt_buckets=()", ()),
        ("rollout.response_buckets=20,40", (20, 40)),
        ("eval.sets=mine.jsonl", ("mine.jsonl",)),
        ("eval.sets=a b.jsonl,lab:heldout", ("a b.jsonl", "lab:heldout")),
        ("eval.sets=('a,b.jsonl',)", ("a,b.jsonl",)),
        ("eval.sets=[ab]*.jsonl", ("[ab]*.jsonl",)),
        ("eval.sets=7", ("7",)),
        ("reward.shadow=empo(low=0.1, high=0.9),format", ("empo(low=0.1, high=0.9)", "format")),
        ("reward.shadow=(empo(low=0.1), format)", ("empo(low=0.1)", "format")),
        ("reward.shadow=", ()),
    ],
)
def test_a_value_is_read_by_the_type_of_its_key(typed, value):
    key = typed.partition("=")[0]
    (found,) = overrides.split([f"--config.{typed}"]).typed.items()
    assert found == (key, value) and type(found[1]) is type(value)
    config.default().update_from_flattened_dict(dict([found]))


def test_values_may_be_words_of_their_own_and_come_again():
    typed = overrides.split(
        ["--config.steps", "3", "-config.optim.lr", "1e-3", "--noconfig.model.remat"]
    ).typed
    assert typed == {"steps": 3, "optim.lr": 1e-3, "model.remat": False}
    assert overrides.split(["--config.model.remat", "false", "train"]) == (
        None,
        {"model.remat": False},
        ["train"],
    )
    assert overrides.split(["--config.steps=3", "--config.steps=4"]).typed == {"steps": 4}
    both = overrides.split(["--config.eval.sets=a", "--config.eval.sets=b"]).typed
    assert both == {"eval.sets": ("a", "b")}
    assert overrides.split(["generate", "--", "--config.steps=3"]).rest == [
        "generate",
        "--",
        "--config.steps=3",
    ]


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ("steps=1.5", "no whole number"),
        ("steps=abc", "no number"),
        ("steps=1e400", "no whole number"),
        ("steps=" + "9" * 5000, "no whole number"),
        ("optim.lr=fast", "no number"),
        ("optim.lr=nan", "no number"),
        ("model.remat=perhaps", "neither true nor false"),
        ("data.prompt_buckets=wide", "no list of whole numbers"),
        ("data.prompt_buckets=(16,32", "brackets or quotes do not close"),
        ("data.prompt_buckets=8.5", "no list of whole numbers"),
        ("eval.sets=('a", "brackets or quotes do not close"),
    ],
)
def test_a_value_of_another_type_is_one_line_with_an_example_that_is_read(typed, what):
    key, _, text = typed.partition("=")
    said = refused(f"--config.{typed}")
    assert said.startswith(f"--config.{key}={text[:100]} is ") and what in said
    overrides.split([said.rpartition("for example ")[2]])


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_keys_example_is_read(key):
    overrides.read(key, overrides.example(key))


@pytest.mark.parametrize("words", [["--config.steps"], ["--config.steps", "--dry_run"]])
def test_a_value_that_is_missing_is_said(words):
    assert refused(*words) == "--config.steps has no value: give one, for example --config.steps=100"


# ---- configurations of runs, and files of one's own -------------------------------------------


def run_folder(folder, **changes):
    """What a run with these keys writes at its start."""
    c = config.default()
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.flat(c)))
    (folder / "record.json").write_text("{}")
    return folder


@pytest.mark.parametrize("file", ["", "config.json"])
def test_a_runs_folder_or_its_file_is_a_configuration_and_overrides_go_before(tmp_path, file):
    run = run_folder(tmp_path / "mine", steps=7, eval__sets=("a", "b"), mesh__data=4, mesh__fsdp=2)
    given = parsed("--config", str(run / file), "--config.optim.lr=0.5")
    c = given.flags.config
    assert (c.steps, c.eval.sets, c.optim.lr) == (7, ("a", "b"), 0.5) and c.is_locked
    assert given.name == "mine" and dict(c.mesh) == {"data": -1, "fsdp": 2, "tensor": 1}


def test_keys_that_came_after_a_run_are_at_their_defaults(tmp_path):
    run = run_folder(tmp_path / "old")
    written = json.loads((run / "config.json").read_text())
    old = {k: v for k, v in written.items() if k not in config.marked("added")}
    (run / "config.json").write_text(json.dumps(old))
    assert config.flat(config.recorded(run)) == config.flat(config.default())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"model_type": "qwen3"}', "of a model --config.model.path="),
        ("{}", "no configuration of a run 'advantage.name' not in it"),
        ('{"steps": 1, "zzz": 2}', "no configuration of a run 'zzz' no key"),
        ("[1]", "config.json JSON object"),
        ("{", "config.json not JSON"),
        (None, "record.json"),
    ],
)
def test_a_file_that_is_no_runs_configuration_is_one_line(tmp_path, text, expected):
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    said = refused("--config", str(tmp_path if text is None else file))
    for word in expected.split():
        assert word in said, said


def test_a_runs_value_of_another_type_names_its_key(tmp_path):
    run = run_folder(tmp_path / "run")
    written = json.loads((run / "config.json").read_text()) | {"optim.lr": "fast"}
    (run / "config.json").write_text(json.dumps(written))
    assert "optim.lr = 'fast' is of another type" in refused("--config", str(run))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    c.rollout.temprature = 0.5", 'line 6: AttributeError Did you mean "temperature"'),
        ("    c.rollout.group = 'many'", "line 6: TypeError group"),
        ("    1 / 0", "line 6: ZeroDivisionError"),
        ("    c = {}", "get_config() config.default()"),
        ("    c +", "line 6: SyntaxError"),
    ],
)
def test_a_mistake_in_an_experiment_file_is_one_line_with_its_place(tmp_path, body, expected):
    file = tmp_path / "mine.py"
    head = "from urlvr_jax import config\n\n\ndef get_config():\n    c = config.default()\n"
    file.write_text(f"{head}{body}\n    return c\n")
    said = refused("--config", str(file))
    for word in (str(file), *expected.split()):
        assert word in said, said
