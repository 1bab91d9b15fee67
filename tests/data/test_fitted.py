"""What follows from a model folder and a question file, and a question file's parts."""

import json

import pytest
import test_prompt_formats
from tokenizers import Tokenizer as Backend

from urlvr_jax import config, errors
from urlvr_jax.data import files, fitted, stream


def write(tmp_path, prompts, **columns):
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, **columns}) + "\n" for p in prompts))
    return str(file)


@pytest.mark.parametrize(
    "asks, style, template",
    [
        ("", "boxed", "boxed"),
        (" Put it in \\boxed{}.", "boxed", "{prompt}"),
        (" End with #### and the number.", "hashes", "{prompt}"),
        (" Give <answer> </answer>.", "tag", "{prompt}"),
        (" The last line is Answer: $Answer", "line", "{prompt}"),
    ],
)
def test_the_style_is_what_most_questions_ask_for(asks, style, template):
    questions = ["How many?" + asks] * 6 + ["How many?"] * 5
    assert fitted.asked_form(questions) == (style, template)
    assert fitted.asked_form(questions[:6] + ["How many?"] * 6) == ("boxed", "boxed")


def test_a_chat_model_is_shown_chats_and_a_base_text(tmp_path):
    questions = write(tmp_path, [f"{i}?" for i in range(20)], answer=1)
    chat = test_prompt_formats.folder(tmp_path, "chatml", eos="<|im_end|>")
    base = test_prompt_formats.folder(tmp_path, "chatml", eos="<|endoftext|>")
    bare = test_prompt_formats.folder(tmp_path, "chatml", template="")
    assert [fitted.fit(path, questions, 200).chat for path in (chat, base, bare)] == [True, False, False]
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1?"}]
    assert fitted.fit(base, write(tmp_path, [asked, "2?"]), 200).chat, "messages need a chat"


def test_the_prompt_widths_hold_all_but_the_far_longest(tmp_path):
    base = test_prompt_formats.folder(tmp_path, "chatml", template="")
    encoded = Backend.from_file(str(base / "tokenizer.json"))
    suffix = len(
        encoded.encode(" Let's think step by step and output the final answer within \\boxed{}.").ids
    )
    near = fitted.fit(base, write(tmp_path, ["!" * 60] * 150 + [f"{i}" + "!" * 90 for i in range(10)]), 200)
    assert near.prompt_buckets[-1] >= 90 + suffix and len(near.prompt_buckets) <= 2
    prompts = [f"{i:03d}" + "!" * 60 for i in range(300)]
    far = fitted.fit(base, write(tmp_path, [*prompts, "!" * 900]), 200)
    assert far.prompt_buckets[-1] < 300 and far.held_out == 30 and not far.labelled
    assert fitted.fit(base, write(tmp_path, prompts, answer="3"), 12)[-2:] == (12, True)
    with pytest.raises(errors.DataError, match="at least 2"):
        fitted.fit(base, write(tmp_path, ["one"]), 200)


def test_a_file_is_parted_by_its_texts_whatever_their_order(tmp_path):
    prompts = [f"Q{i}+1?" for i in range(50)]
    name = write(tmp_path, prompts)
    held, rest = ({r["prompt"] for r in files.read(f"{name}[{p}=12]", {}).rows} for p in ("held", "rest"))
    assert len(held) == 12 and held | rest == set(prompts) and not held & rest
    found = files.read(f"{write(tmp_path, [*reversed(prompts), 'new?'])}[held=12]", {})
    assert len(held & {r["prompt"] for r in found.rows}) >= 11, "one more question moves one at most"
    twice = files.read(f"{write(tmp_path, prompts * 2)}[rest=12]", {}, deduplicate=False)
    assert {r["prompt"] for r in twice.rows} == rest and len(twice.rows) == 76
    assert files.read(f"{name}[rest=12]", {}).duplicates == 50
    for count in (0, 50, 999):
        with pytest.raises(errors.DataError, match="hold from 1 to 49"):
            files.read(f"{name}[held={count}]", {})
    assert stream.lengths_text([5, 20, 30, 40], 16).endswith("--config.data.prompt_buckets=48")
    assert (
        stream.lengths_text([5, 9], 16)
        == "half of them have at most 9 tokens, 99 % at most 9, the longest 9"
    )


def test_a_slice_of_a_file_is_its_questions_in_their_order(tmp_path):
    name = write(tmp_path, ["a?", "b?", "a?", "c?", "d?"])
    prompts = lambda part: [r["prompt"] for r in files.read(f"{name}{part}", {}).rows]
    assert prompts("[0:2]") == ["a?", "b?"] and prompts("[1:4]") == ["b?", "c?", "d?"]
    assert files.read(f"{name}[1:3]", {}).duplicates == 1
    for part in ("[2:2]", "[3:1]", "[0:5]", "[9:12]"):
        with pytest.raises(errors.DataError, match="there are 4 questions: give"):
            prompts(part)


@pytest.mark.parametrize(
    "most, widths", [(44, (44,)), (128, (128,)), (130, (33, 130)), (7168, (1792, 7168))]
)
def test_response_widths_follow_the_longest_response(most, widths):
    c = config.default()
    c.rollout.max_new_tokens = most
    assert config.response_buckets(c) == widths
    c.rollout.response_buckets = (7, most)
    assert config.response_buckets(c) == (7, most)
