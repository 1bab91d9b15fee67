"""Which package may know which: by every import statement of the package, wherever it stands."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "urlvr_jax"


def module_name(file: pathlib.Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imports_of(name: str, late: bool = True) -> dict[str, set[str]]:
    """{imported module: names taken from it}, of the package and of others; late: those inside functions too."""
    tree, out = ast.parse(MODULES[name].read_text()), {}
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                out.setdefault(alias.name, set())
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                out.setdefault(whole if whole in MODULES else node.module, set()).add(alias.name)
    return out


@functools.cache
def own_imports(name: str, late: bool = True) -> set[str]:
    """Modules of the package that are executed for this one: those it names, and their packages."""
    named = {m for m in imports_of(name, late) if m in MODULES}
    parents = {".".join(m.split(".")[:i]) for m in named for i in range(1, m.count(".") + 1)}
    return (named | parents) - {name, *(name.rsplit(".", i)[0] for i in range(1, 4))}


@functools.cache
def reached_from(name: str) -> set[str]:
    """Everything that importing or calling a module may load of the package."""
    seen, todo = set(), [name]
    while todo:
        for other in own_imports(todo.pop()) - seen:
            seen.add(other)
            todo.append(other)
    return seen


def of_package(*names: str) -> list[str]:
    return [
        m for m in MODULES if any(m == f"urlvr_jax.{n}" or m.startswith(f"urlvr_jax.{n}.") for n in names)
    ]


def test_no_module_imports_itself_by_a_circle():
    for name in MODULES:
        assert name not in reached_from(name), f"{name} imports itself by {sorted(reached_from(name))}"


FORBIDDEN = [
    # who                    what they must not reach, and why
    (("data",), ("rewards", "learning", "runtime.engine")),  # a prompt does not depend on its reward
    (("answers", "checks"), ("rewards", "runtime.engine", "types")),  # text alone; types imports JAX
    (
        ("rewards",),
        ("data.labels", "data.stream", "runtime.engine", "runtime.opening"),
    ),  # no label in reach
    (("models", "rollout", "scoring"), ("data", "rewards", "measure", "runtime.engine")),
    (("learning",), ("rewards.expression", "data.stream", "runtime.engine")),
    (
        ("untrusted",),
        ("answers", "checks", "data", "models", "rewards", "runtime", "types"),
    ),  # nobody's values
    (("studies",), ("runtime.engine",)),  # what reads runs needs no device
]


@pytest.mark.parametrize("who, what", FORBIDDEN, ids=lambda x: ",".join(x))
def test_packages_do_not_reach_what_they_must_not_know(who, what):
    for name in of_package(*who):
        reached = reached_from(name) & set(of_package(*what))
        assert not reached, f"{name} reaches {sorted(reached)}"


def test_only_the_evaluation_of_what_measures_needs_an_engine():
    for name in of_package("measure"):
        if name not in ("urlvr_jax.measure", "urlvr_jax.measure.evaluate"):
            assert "urlvr_jax.runtime.engine" not in reached_from(name), name


def test_answers_and_checks_work_where_there_is_no_jax():
    names = ", ".join(of_package("answers", "checks"))
    code = f"import sys\nfor name in ('jax', 'jaxlib', 'flax'): sys.modules[name] = None\nimport {names}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_module_hands_on_what_another_one_defines():
    """But for `urlvr_jax.rewards`, which has the three names that the author of a reward writes."""
    defined = {}
    for name, file in MODULES.items():
        tree = ast.parse(file.read_text())
        made = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
        made += [x.id for t in targets for x in ast.walk(t) if isinstance(x, ast.Name)]
        defined[name] = set(made)
    for name in MODULES:
        for source, taken in imports_of(name).items():
            if source in MODULES and source != "urlvr_jax.rewards" and taken:
                strangers = {
                    n for n in taken if n not in defined[source] and f"{source}.{n}" not in MODULES
                }
                strangers -= {source.rpartition(".")[2]}
                assert not strangers, f"{name} takes {sorted(strangers)} from {source}"
    for name, file in MODULES.items():
        if file.name == "__init__.py" and name not in ("urlvr_jax", "urlvr_jax.rewards", "urlvr_jax.verbs"):
            assert not [n for n in ast.parse(file.read_text()).body if not isinstance(n, ast.Expr)], name


@pytest.mark.parametrize("most, kind", [(500, "file"), (90, "function")])
def test_files_and_functions_stay_short(most, kind):
    """A guide that has been kept: `_marked` lists every key, `_train` is the loop."""
    for name, file in MODULES.items():
        text = file.read_text()
        if kind == "file":
            assert text.count("\n") <= most, name
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                longest = {"_marked": 160, "_train": 130}.get(node.name, most)
                assert node.end_lineno - node.lineno + 1 <= longest, f"{name}.{node.name}"
