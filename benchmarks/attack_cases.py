"""What attacks.py tries: for each family a maker of one hostile case from a random generator."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import random
import shutil
import struct
from collections.abc import Callable

from attack_values import RAW, dumped, text, value

from urlvr_jax.lab import shipped

# ---- model folders ------------------------------------------------------------------------------


def _folder(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "model"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(shipped.base("lab:plain"), path)
    return path


def _mutated(rng: random.Random, file: pathlib.Path) -> None:
    """A JSON file with some of its values replaced, or torn, or another kind of file."""
    how = rng.randrange(12)
    if how == 0:
        file.write_bytes(file.read_bytes()[: rng.randrange(200)])
        return
    if how == 1:
        file.write_text(rng.choice(RAW))
        return
    written = json.loads(file.read_text())
    for _ in range(rng.randrange(1, 4)):
        node = written
        while isinstance(node, dict) and node:
            key = rng.choice(list(node))
            if not isinstance(node[key], dict) or rng.random() < 0.4:
                node[key] = value(rng)
                break
            node = node[key]
    if rng.random() < 0.3:
        written[
            rng.choice(
                ("auto_map", "rope_scaling", "rope_parameters", "quantization_config", "layer_types")
            )
        ] = value(rng)
    file.write_text(dumped(rng, written))


def model_configs(folder: pathlib.Path) -> Callable:
    from urlvr_jax.models import folders

    def attack(rng: random.Random):
        path = _folder(folder)
        _mutated(rng, path / "config.json")
        config = folders.model_config(path)
        folders.check_weights(path, config)

    return attack


def tokenizers(folder: pathlib.Path) -> Callable:
    from urlvr_jax.data.prompt_formats import PromptFormat
    from urlvr_jax.data.tokenizer import Tokenizer

    def attack(rng: random.Random):
        path = _folder(folder)
        names = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json")
        file = path / rng.choice(names)
        if not file.is_file():
            file.write_text(json.dumps({"eos_token_id": 1}))
        _mutated(rng, file)
        tokenizer = Tokenizer(path, chat=rng.random() < 0.3)
        PromptFormat(tokenizer).encode([text(rng), "Q1+2?"], widest=16)
        tokenizer.decode([[1, 2, 3]])

    return attack


def weights(folder: pathlib.Path) -> Callable:
    from urlvr_jax.models import folders

    config = folders.model_config(shipped.base("lab:plain"))

    def attack(rng: random.Random):
        path = _folder(folder)
        file = path / "model.safetensors"
        data = bytearray(file.read_bytes())
        how = rng.randrange(6)
        if how == 0:
            data = data[: rng.randrange(len(data))]
        elif how == 1:
            data[:8] = struct.pack("<Q", rng.choice((0, 1, 2**20, 2**40, 2**63, 2**64 - 1)))
        elif how == 2:
            for _ in range(rng.randrange(1, 20)):
                data[rng.randrange(8, 4000)] = rng.randrange(256)
        elif how == 3:
            (size,) = struct.unpack("<Q", data[:8])
            header = json.loads(data[8 : 8 + size])
            name = rng.choice(list(header))
            header[name] = (
                value(rng)
                if rng.random() < 0.5
                else dict(header[name], shape=value(rng), data_offsets=[0, 8])
            )
            new = json.dumps(header).encode()
            data = struct.pack("<Q", len(new)) + new + data[8 + size :]
        else:
            index = {"weight_map": {f"t{i}": value(rng) for i in range(3)}} if how == 4 else value(rng)
            (path / "model.safetensors.index.json").write_text(dumped(rng, index))
        file.write_bytes(bytes(data))
        folders.load(path, config)

    return attack


def folder_code(folder: pathlib.Path) -> Callable:
    """Code beside the weights, named in every way; it must not run."""
    from urlvr_jax.data.tokenizer import Tokenizer
    from urlvr_jax.errors import FolderError
    from urlvr_jax.models import folders

    def attack(rng: random.Random):
        path = _folder(folder)
        where = rng.choice(
            ("evil.Config", "owner/name--evil.Config", "../model/evil.Config", "evil.py", "os.system")
        )
        auto_map = {
            name: rng.choice((where, [where, where], [where, None], None))
            for name in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM", "AutoProcessor")
            if rng.random() < 0.7
        }
        (path / "evil.py").write_text(
            "import pathlib; (pathlib.Path(__file__).parent / 'ran').write_text('')\n"
            "from transformers import PretrainedConfig as Config\n"
        )
        for name in (
            "config",
            "tokenizer_config",
            "generation_config",
            "processor_config",
            "preprocessor_config",
        ):
            if rng.random() < 0.7:
                file = path / f"{name}.json"
                old = json.loads(file.read_text()) if file.is_file() else {}
                new = {"auto_map": rng.choice((auto_map, where, [where]))}
                if rng.random() < 0.6:
                    new |= {
                        "model_type": rng.choice(("evil", "qwen3", "llama", "t5")),
                        "tokenizer_class": "Evil",
                    }
                file.write_text(json.dumps(old | new))
        if rng.random() < 0.4:
            (path / "tokenizer.json").unlink()
        import sys

        sys.stdin = io.StringIO("y\n" * 99)
        first = None
        for opened in (lambda: folders.model_config(path), lambda: Tokenizer(path, chat=True)):
            try:
                opened()
            except FolderError as error:
                first = first or error
        if (path / "ran").exists():
            raise AssertionError("code of the folder ran")
        if first:
            raise first

    return attack


PIECES = (
    "{{ messages[0].content }}", "{% for m in messages %}{{ m.role }}{% endfor %}", "{{ 'a' * 9**9 }}", "{{ 1/0 }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 9**9**9 }}", "{% if %}",
    "{{ ''.__class__ }}", "{{ [].append }}", "{{ '%999999999d' % 1 }}", "{{ raise_exception('x') }}", "{{ 10.0**999 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ x.y.z }}", "{{ messages | tojson }}", "{{ strftime_now('%Y') }}",
    "{% set ns = namespace(a='ab') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
    "{{ '\\ud800' }}", "{{ messages | map('upper') | list }}", "{% include 'x' %}", "{{ 'x' | center(99999999999) }}", "\x1b",
)  # fmt: skip


def chat_templates(folder: pathlib.Path) -> Callable:
    from urlvr_jax.errors import DataError
    from urlvr_jax.untrusted import chat_template

    chat_template.DEADLINE_S = 1.0

    def attack(rng: random.Random):
        template = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 4)))
        try:
            chat_template.render(
                template, [[{"role": "user", "content": text(rng)}]], True, {"eos_token": "</s>"}
            )
        except chat_template.ChatTemplateError as error:  # which the prompt format names with the folder
            raise DataError(str(error)) from None

    return attack


# ---- files ----------------------------------------------------------------------------------------

ROWS = (
    "prompt",
    "answer",
    "id",
    "rephrased",
    "question",
    "problem",
    "solution",
    "nums",
    "target",
    "extra_info",
    "response",
)


def json_lines(folder: pathlib.Path) -> Callable:
    from urlvr_jax.data import stream
    from urlvr_jax.data.prompt_formats import PromptFormat
    from urlvr_jax.data.tokenizer import Tokenizer

    prompt_format = PromptFormat(Tokenizer(shipped.base("lab:plain")))

    def attack(rng: random.Random):
        file = folder / rng.choice(("q.jsonl", "q.json"))
        good = {"prompt": "Q1+2?", "answer": "3"}
        rows = [
            good if rng.random() < 0.5 else good | {rng.choice(ROWS): value(rng)}
            for _ in range(rng.randrange(5))
        ]
        lines = [dumped(rng, row) for row in rows]
        whole = (
            "\n".join(lines) if file.suffix == ".jsonl" or rng.random() < 0.3 else f"[{','.join(lines)}]"
        )
        data = whole.encode("utf-8", "surrogatepass")
        if rng.random() < 0.1:
            at = rng.randrange(len(data) + 1)
            data = data[:at] + bytes(rng.randrange(256) for _ in range(3)) + data[at:]
        file.write_bytes(data)
        stream.load(str(file), prompt_format, (16,), labelled=rng.random() < 0.3)

    return attack


def parquets(folder: pathlib.Path) -> Callable:
    import datetime
    import decimal

    import pyarrow
    import pyarrow.parquet

    from urlvr_jax.data import stream
    from urlvr_jax.data.prompt_formats import PromptFormat
    from urlvr_jax.data.tokenizer import Tokenizer

    prompt_format = PromptFormat(Tokenizer(shipped.base("lab:plain")))
    makers = (
        lambda r: [text(r), None], lambda r: ["Q1+2?", "Q3+4?"], lambda r: [1, None], lambda r: [1.5, float("nan")],
        lambda r: [[], [1, 2]], lambda r: [{"role": "user", "content": text(r)}, None], lambda r: [b"\xff\x00", b"Q"],
        lambda r: [[{"role": "user", "content": text(r)}], [{"role": "system", "content": "s"}]], lambda r: [True, False],
        lambda r: [datetime.date(2020, 1, 1), None], lambda r: [decimal.Decimal("1.5"), None], lambda r: [{}, {}],
        lambda r: [{"ground_truth": text(r)}, {"ground_truth": None}], lambda r: [None, None], lambda r: [[None], None],
    )  # fmt: skip

    def attack(rng: random.Random):
        names = ["prompt", *rng.sample([*ROWS, "reward_model", "extra_info", "a.b", ""], rng.randrange(4))]
        columns = [rng.choice(makers)(rng) for _ in names]
        if rng.random() < 0.6:
            columns[0] = ["Q1+2?", "Q5-3?"]
        file = folder / "q.parquet"
        with contextlib.suppress(
            pyarrow.ArrowException, TypeError, UnicodeEncodeError
        ):  # what cannot be written
            file.unlink(missing_ok=True)
            pyarrow.parquet.write_table(pyarrow.table(columns, names=names), file)
        data = bytearray(file.read_bytes()) if file.is_file() else bytearray(b"PAR1")
        if rng.random() < 0.3 and len(data) > 8:
            for _ in range(rng.randrange(1, 9)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(bytes(data))
        stream.load(str(file), prompt_format, (16,))

    return attack


def completions(folder: pathlib.Path) -> Callable:
    from urlvr_jax import config
    from urlvr_jax.answers import saved
    from urlvr_jax.verbs import score

    settings = config.default().answers

    def attack(rng: random.Random):
        file = folder / "c.jsonl"
        good = {"prompt": "Q1+2?", "response": "A3", "answer": "3"}
        rows = [
            good if rng.random() < 0.5 else good | {rng.choice(ROWS): value(rng)}
            for _ in range(rng.randrange(1, 5))
        ]
        file.write_bytes("\n".join(dumped(rng, row) for row in rows).encode("utf-8", "surrogatepass"))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            saved.read_file(settings, str(file))
        score.by_prompt(score.read(str(file)))

    return attack


# ---- texts ----------------------------------------------------------------------------------------


def answers(folder: pathlib.Path) -> Callable:
    from urlvr_jax.answers import canonical, classes, extract

    def attack(rng: random.Random):
        texts = [
            text(rng) + rng.choice(("A5", "\\boxed{" + text(rng) + "}", "#### " + text(rng), ""))
            for _ in range(4)
        ]
        read = classes.read_answers(texts, 2, rng.choice(sorted(extract.EXTRACTORS)))
        for key in filter(None, read.keys):
            if canonical.key(key) != key:
                raise AssertionError(f"the key of {key!r:.60} is another")

    return attack


def rewards(folder: pathlib.Path) -> Callable:
    from urlvr_jax.rewards import expression

    parts = (
        "self_certainty", "format", "empo(low=0.1)", "group_z(", ")", "+", "-", "*", "0.5", "1e400", "(", "lambda: 1", "x",
        "__import__('os').system('x')", "'mine.py:f'", "[1]", "empo(low=float('nan'))", "0.1*", "9" * 5000, "\n", "\x00", "ß",
        "-" * 3000, "random", "group_z(batch_z(format))", "empo(low=1, low=2)", "*[1]", "**{}", ":=", "f'{1}'",
    )  # fmt: skip

    def attack(rng: random.Random):
        expression.load("".join(rng.choice(parts) for _ in range(rng.randrange(1, 7))))

    return attack


def configurations(folder: pathlib.Path) -> Callable:
    from urlvr_jax import config, validation

    keys = [key for key, x in config.flat(config.default()).items() if not isinstance(x, dict)]

    def attack(rng: random.Random):
        c = config.default()
        for _ in range(rng.randrange(1, 4)):
            key = rng.choice(keys)
            odd = value(rng)
            if isinstance(config.value_of(c, key), tuple):
                odd = tuple(value(rng) for _ in range(rng.randrange(4)))
            with contextlib.suppress(
                TypeError, ValueError, OverflowError, AttributeError
            ):  # ml_collections' own word
                c.update_from_flattened_dict({key: odd})
        validation.validate(c, 1, "cpu")

    return attack


def terminal(folder: pathlib.Path) -> Callable:
    from urlvr_jax.untrusted import shown

    def attack(rng: random.Random):
        some = "".join(
            chr(rng.choice((rng.randrange(256), rng.randrange(0x2000, 0x2100), rng.randrange(0x110000))))
            for _ in range(200)
        )
        if any(
            ord(x) < 32 and x not in "\t\n" or 127 <= ord(x) < 160 or "\u202a" <= x <= "\u202e"
            for x in shown.visible(some)
        ):
            raise AssertionError("a control character is let through")

    return attack


def countdown(folder: pathlib.Path) -> Callable:
    from urlvr_jax.checks import countdown as game

    def attack(rng: random.Random):
        signs = "0123456789+-*/() .e_^%"
        some = (
            "".join(rng.choice(signs) for _ in range(rng.randrange(30)))
            if rng.random() < 0.7
            else text(rng)
        )
        task = game.parse(
            rng.choice((f"C3,7,5={some}?", "C3,7,5=26?", "numbers [3, 7] that equals 10", text(rng)))
        )
        if task is not None:
            game.solves(some, task)

    return attack


def integrals(folder: pathlib.Path) -> Callable:
    from urlvr_jax.checks import integration

    pieces = (
        *"0123456789xxxyeC+-*/^()|{}[] ,.=?%!", "sin", "arctan", "ln", "log_", "e^", "\\frac{", "\\sqrt", "\\int ", "dx", "\\ln|",
        "^{-1}", "\\left(", "\\pi", "1/0", "\\text{", "²", "sqrt(", "999", "^(1/2)",
    )  # fmt: skip

    def attack(rng: random.Random):
        some = "".join(rng.choice(pieces) for _ in range(rng.randrange(25))) * rng.choice((1, 1, 1, 40))
        if rng.random() < 0.3:
            some = text(rng)
        asked = rng.choice((f"I{some}?", f"\\int {some} dx", f"Integrate {some}.", some, "I2x?", "I2x?"))
        task = integration.parse(asked)
        if task is not None:
            integration.candidate(some, task.variable)
            if rng.random() < 0.2:
                integration.verdicts([(asked, some)])

    return attack


def places(folder: pathlib.Path) -> Callable:
    """Names and obstacles of a run's folder; the same is opened twice."""
    from urlvr_jax import config
    from urlvr_jax.errors import DataError
    from urlvr_jax.runtime.workdir import Workdir
    from urlvr_jax.verbs.flags import place_text

    c = config.default()

    def attack(rng: random.Random):
        shutil.rmtree(folder / "runs", ignore_errors=True)
        (folder / "runs").mkdir()
        name = (
            rng.choice(
                (text(rng), text(rng)[:40], "run", "a/b", "x" * 300, "a[b]*", "a\\b", "gs::x", "-", " ")
            )
            or "run"
        )
        path = folder / "runs" / name.replace("\0", "0").lstrip("/").replace("../", "")
        obstacle = rng.randrange(6)
        try:
            if obstacle == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("a file")
            elif obstacle == 1:
                path.mkdir(parents=True)
                (path / rng.choice(("config.json", "record.json", "metrics.jsonl"))).write_text(
                    dumped(rng, value(rng))
                )
            elif obstacle == 2:
                path.mkdir(parents=True)
                (path / rng.choice(("config.json", "lock", "metrics.jsonl", "completions"))).mkdir()
            for _ in range(2):
                workdir = Workdir(path, c, {"parameters": 3})
                workdir.metrics.write({"step": 1, "x": float("nan")})
                workdir.truncate_after(0)
                workdir.release()
        except OSError as error:  # which the command line says in one line
            if not place_text(error):
                raise
            raise DataError(place_text(error)) from None

    return attack


FAMILIES: dict[str, Callable[[pathlib.Path], Callable]] = {
    f.__name__: f
    for f in (
        model_configs, tokenizers, weights, folder_code, chat_templates, json_lines, parquets, completions, answers,
        rewards, configurations, terminal, countdown, integrals, places,
    )
}  # fmt: skip
