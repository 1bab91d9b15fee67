"""Easier variants of an integral, and a curriculum of them: LADDER's tree (2503.00735).

LADDER lets the model write its variants. Here rules write them, on the tree of the integrand: a term is dropped, a power
lowered, a coefficient left out, a composition peeled, a product or quotient reduced to a part. One rewrite is one level.
"""

from __future__ import annotations

import hashlib

import numpy as np

from urlvr_jax.answers import trees
from urlvr_jax.answers.trees import Tree, X
from urlvr_jax.checks import integration
from urlvr_jax.errors import DataError

LEVELS, WIDTH = 3, 4  # rewrites, and how many variants of each level


def easier(tree: Tree) -> list[Tree]:
    """Everything that one rewrite makes of a function of x and that is still one, each once."""
    found = dict.fromkeys(_rewritten(tree))
    return [t for t in found if t.letters and t != tree]


def _rewritten(tree: Tree) -> list[Tree]:
    out = []
    match tree:
        case Tree("+" | "*", (a, b)) | Tree("-", (a, b)):
            out += [a, b]
        case Tree("neg" | "/", (a, *_)):
            out += [a]
        case Tree("^", (base, Tree("number", _, n))) if n.denominator == 1 and n > 1:
            out += [base if n == 2 else Tree("^", (base, trees.number(n - 1)))]
            out += [] if base == X else [Tree("^", (X, trees.number(n)))]
        case Tree("number" | "x" | "e" | "pi" | "constant", _):
            return []
        case Tree(name, (inner,)):  # a function
            out += [X if inner == X else Tree(name, (X,))]
    if tree.op == "^":
        out += [Tree("^", (base, tree.args[1])) for base in easier(tree.args[0])]
        return out
    for i, part in enumerate(tree.args):
        out += [Tree(tree.op, (*tree.args[:i], other, *tree.args[i + 1 :])) for other in easier(part)]
    return out


def size(tree: Tree) -> int:
    """How much there is to integrate: nodes, and the powers."""
    power = tree.op == "^" and tree.args[1].rational
    return 1 + sum(map(size, tree.args)) + (int(power) if power and power > 0 else 0)


def levels(tree: Tree, rng: np.random.Generator, deepest: int, width: int) -> list[list[Tree]]:
    """Variants by level, from one rewrite to `deepest`: at most `width` of each, drawn from those that come for the first time."""
    out, known, front = [], {tree}, [tree]
    for _ in range(deepest):
        options = [t for t in dict.fromkeys(t for one in front for t in easier(one)) if t not in known]
        front = [options[i] for i in sorted(rng.permutation(len(options))[:width])]
        if not front:
            break
        known |= set(front)
        out.append(front)
    return out


def curriculum(rows: list[dict], seed: int, deepest: int = LEVELS, width: int = WIDTH) -> list[dict]:
    """Rows of a question file `{id, prompt}` with their variants before them: the easiest first, the rows themselves last.

    A variant has `id`, `prompt`, `variant_of` and `level`; texts that come again are left out. A function of its arguments.
    DataError for a question without an integral.
    """
    variants = []
    for row in rows:
        question = row["prompt"]
        task = integration.parse(question)
        if task is None:
            raise DataError(
                f"{row.get('where', row['id'])}: no indefinite integral that can be read in {question[:80]!r}"
            )
        digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()
        rng = np.random.default_rng((seed, int.from_bytes(digest[:8], "big")))
        for level, found in enumerate(levels(task.integrand, rng, deepest, width), 1):
            for i, tree in enumerate(found):
                new = {"id": f"{row['id']}/{level}.{i}", "prompt": task.asking(question, tree)}
                variants.append((size(tree), new | {"variant_of": row["id"], "level": level}))
    known = {row["prompt"] for row in rows}
    out = []
    for _, row in sorted(variants, key=lambda pair: pair[0]):
        if row["prompt"] not in known:
            known.add(row["prompt"])
            out.append(row)
    return out + [{"id": row["id"], "prompt": row["prompt"]} for row in rows]
