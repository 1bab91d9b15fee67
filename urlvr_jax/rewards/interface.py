"""What a reward is: a pure function of `RewardInputs` -> float32 `[P, G]`, and what it says of itself."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.errors import UserError
from urlvr_jax.rewards.derived import DERIVED
from urlvr_jax.runtime.user_code import said
from urlvr_jax.types import STATISTICS, Declared, Reference, RewardInputs

NEEDS = (*STATISTICS, *DERIVED)  # what a reward may ask for by `@needs`


class RewardError(UserError):
    """A reward that cannot be found, or that does not keep to its interface."""


def check_needs(names) -> tuple[str, ...]:
    """The names as a tuple; RewardError if any is not provided."""
    unknown = sorted(set(names) - set(NEEDS))
    if unknown:
        raise RewardError(f"@needs: unknown {unknown}; available: {list(NEEDS)}")
    return tuple(names)


def needs(*names):
    """Declare what a reward reads beyond tokens, lengths and texts; it is handed just those.

    names are of `NEEDS`: token statistics, and what is derived from the rollouts. Instead of names, one
    function of the reward's options that returns them. RewardError for any other name.
    """
    by_options = len(names) == 1 and callable(names[0])
    declared = names[0] if by_options else check_needs(names)

    def declare(fn):
        fn.needs = declared
        return fn

    return declare


def needs_of(fn, options: dict | None = None) -> tuple[str, ...]:
    """What a reward declared, given its options."""
    declared = getattr(fn, "needs", ())
    return check_needs(declared(**defaults(fn) | (options or {}))) if callable(declared) else declared


@dataclasses.dataclass(frozen=True)
class About:
    """What the tables and the verb `rewards` say of a reward."""

    family: str  # certainty, ensemble, external, corpus, unified, control
    formula: str  # in the letters of the paper: pi, p_t, y_t, q, U, V, G
    norm: str  # how it depends on the response's length
    range: str
    papers: str  # the names it goes by, with arXiv numbers
    failure: str  # known ways in which it goes wrong
    differs: str = ""  # how public implementations differ


def about(**fields: str):
    """Attach `About(**fields)` to a reward."""

    def describe(fn):
        fn.about = About(**fields)
        return fn

    return describe


def defaults(fn) -> dict:
    """Options of a reward, its keyword-only parameters, with their defaults."""
    parameters = inspect.signature(fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_signature(fn) -> None:
    """RewardError unless `fn(inputs[, reference], *, option=default, ...)`."""
    parameters = list(inspect.signature(fn).parameters.values())
    places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    plain = len(places) == 1 or (len(places) == 2 and places[1] == "reference")
    without = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    if not plain or without or variadic:
        raise RewardError(
            f"reward {fn.__name__!r} has the parameters {inspect.signature(fn)}: needed are (inputs), or "
            "(inputs, reference) for a control that needs labels; options are keyword-only with defaults, `*, low=0.0`"
        )


def takes_reference(fn) -> bool:
    """Whether a function asks for the gold answers, by a second parameter named `reference`."""
    return "reference" in inspect.signature(fn).parameters


def call(fn, inputs: RewardInputs, reference: Reference | None, options: dict | None = None):
    """Call one reward function; float32 `[P, G]`, RewardError for whatever else it returns or raises.

    UserError, such as of an input that was not declared, goes through.
    """
    args = (inputs, reference) if takes_reference(fn) else (inputs,)
    try:
        out = fn(*args, **(options or {}))
    except (UserError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # sys.exit() would end the run as if all were well
        raise RewardError(
            f"reward {fn.__name__!r} raised {said(error, inspect.unwrap(fn).__code__.co_filename)}"
        ) from error
    out = _float32(fn, out)
    if out.shape != inputs.shape:
        raise RewardError(
            f"reward {fn.__name__!r} returned shape {out.shape}, expected [P, G] = "
            f"{inputs.shape}; `inputs.per_group(x)` turns [B] into [P, G]"
        )
    return out


def _float32(fn, out):
    """What a reward returned as a float32 array; RewardError for what is no array of real numbers."""
    array = out
    if not isinstance(out, jax.Array):
        try:
            array = np.asarray(out)
        except (TypeError, ValueError, OverflowError) as error:  # ragged lists
            raise RewardError(
                f"reward {fn.__name__!r} returned {_shown(out)}, which is no array ({error!s:.100})"
            ) from None
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if not real and array.dtype != bool:
        raise RewardError(f"reward {fn.__name__!r} returned {_shown(out)}, which are no real numbers")
    return jnp.asarray(array, jnp.float32)


def _shown(out) -> str:
    return f"{type(out).__name__} {str(out)[:80]!r}"


def paid_where(inputs: RewardInputs, right: Callable[[], Sequence]):
    """1 where a check of texts says so: right() is bool `[B]` -> float32 `[P, G]`. 0 in the rehearsal at start-up, which has no texts."""
    if not any(inputs.questions):
        return jnp.zeros(inputs.shape)
    return jnp.asarray(np.asarray(right(), np.float32).reshape(inputs.shape))


def own_inputs(lengths, group: int, *, stats=None, **given) -> RewardInputs:
    """Inputs from arrays of one's own: for notebooks, tests, and first tries of a reward.

    lengths int `[B]`, B = P * group; stats {name: `[B, T]`}. given: derived inputs by their names, and fields of
    `RewardInputs`; texts and prompts are empty where none are given. TypeError for any other name.
    """
    rows = len(lengths)
    stats = stats or {}
    width = next(iter(stats.values())).shape[1] if stats else 1
    derived = {n: x if isinstance(x, tuple) else jnp.asarray(x) for n, x in given.items() if n in DERIVED}
    fields = dict(
        tokens=jnp.zeros((rows, width), jnp.int32),
        ended=jnp.ones(rows, bool),
        texts=("",) * rows,
        prompts=("",) * (rows // group),
        questions=("",) * (rows // group),
        max_new_tokens=width,
        key=jax.random.key(0),
    )
    return RewardInputs(
        stats=Declared({n: jnp.asarray(x) for n, x in stats.items()}, NEEDS),
        derived=Declared(derived, NEEDS),
        lengths=jnp.asarray(lengths),
        **(fields | {n: x for n, x in given.items() if n not in DERIVED}),
    )


_REHEARSED: set[tuple] = set()


def rehearse(fn, options: dict) -> None:
    """Trace a reward of this package on abstract inputs, so that bad options are found at start-up.

    Nothing is compiled. Functions of a user's file are not rehearsed: they may keep state or read texts. A reward is
    rehearsed once for the same options, or a long sum would take seconds.
    """
    key = (fn, repr(sorted(options.items())))
    if key in _REHEARSED:
        return
    P, G, T = 2, 2, 3
    needed = needs_of(fn, options)
    stats = {n: np.zeros((P * G, T), np.float32) for n in STATISTICS if n in needed}
    derived = {n: made.example(P, G, T) for n, made in DERIVED.items() if n in needed}
    arrays = {n: derived.pop(n) for n in tuple(derived) if not isinstance(derived[n], tuple)}

    def run(lengths, stats, arrays, key):
        inputs = own_inputs(lengths, G, stats=stats, key=key, **arrays, **derived)
        return call(fn, inputs, Reference(jnp.zeros((P, G), bool), jnp.zeros((P, G))), options)

    jax.eval_shape(run, np.zeros(P * G, np.int32), stats, arrays, jax.eval_shape(jax.random.key, 0))
    _REHEARSED.add(key)
