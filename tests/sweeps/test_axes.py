"""What is typed after --over: the values of a key, their product, and what is refused."""

import pytest

from urlvr_jax.config import ConfigError
from urlvr_jax.sweeps import axes


@pytest.mark.parametrize(
    "text, values",
    [
        ("optim.lr=1e-5,3e-5", (1e-5, 3e-5)),
        ("seed=0:3", (0, 1, 2)),
        ("seed=0:2,7", (0, 1, 7)),
        ("data.subset_seed=-1:2", (-1, 0, 1)),
        ("steps=1e2,200", (100, 200)),
        ("collapse.stop=true,false", (True, False)),
        ("reward.name=majority_voting,empo(low=0.1, high=2)", ("majority_voting", "empo(low=0.1, high=2)")),
        ("data.columns='prompt=a,answer=b',''", ("prompt=a,answer=b", "")),
        ("verify.prompt_buckets=64;64,128", ((64,), (64, 128))),
        ("verify.prompt_buckets=16,32", ((16, 32),)),
        ("eval.sets=lab:heldout;(a.jsonl,'b.jsonl')", (("lab:heldout",), ("a.jsonl", "b.jsonl"))),
    ],
)
def test_values_are_read_by_the_type_of_their_key(text, values):
    (axis,) = axes.parse([text], {})
    assert axis.key == text.partition("=")[0]
    assert axis.values == values and list(map(type, axis.values)) == list(map(type, values))


@pytest.mark.parametrize(
    "texts, says",
    [
        ([], "--over is missing"),
        (["optm.lr=1e-5"], "did you mean --over optim.lr=1e-5"),
        (["learning_rate=1e-5"], "did you mean --over optim.lr=1e-5"),
        (["zzz=1"], "give --over optim.lr=1e-5,3e-5"),
        (["optim.lr"], "has no values: give them after ="),
        (["optim.lr="], "has no values"),
        (["optim.lr=,"], "has no values"),
        (["optim.lr=1e-5,fast"], "--over optim.lr=fast is no number"),
        (["optim.lr=0:3"], "--over optim.lr=0:3 is no number"),
        (["seed=1.5"], "no whole number"),
        (["seed=3:1"], "A:B is A to B - 1"),
        (["seed=0:100000000000"], "more than 10000"),
        (["seed=0:200", "steps=1:200"], "39800 combinations are more than 10000"),
        (["seed=0:3,2"], "2 stands there twice"),
        (["seed=0", "seed=1"], "--over seed is given twice"),
        (["rollout.group=4,8"], "give one of the two"),
        (["reward.name='a,b"], "brackets or quotes do not close"),
    ],
)
def test_what_is_amiss_is_said_with_key_value_and_remedy(texts, says):
    with pytest.raises(ConfigError) as error:
        axes.product(axes.parse(texts, {"rollout.group": 8}))
    assert says in str(error.value)


def test_the_product_has_every_combination_and_the_last_axis_changes_first():
    found = axes.product(axes.parse(["optim.lr=1e-5,3e-5", "seed=0:2"], {}))
    assert found == [
        {"optim.lr": 1e-5, "seed": 0},
        {"optim.lr": 1e-5, "seed": 1},
        {"optim.lr": 3e-5, "seed": 0},
        {"optim.lr": 3e-5, "seed": 1},
    ]
    assert axes.text(found[0]) == "optim.lr=1e-5 seed=0"
