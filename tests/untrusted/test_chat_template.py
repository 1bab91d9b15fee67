"""A chat template is a program that others wrote: it runs under limits, and its faults have one message."""

import time

import pytest

from urlvr_jax.untrusted import chat_template
from urlvr_jax.untrusted.chat_template import ChatTemplateError, render

ASK = [[{"role": "user", "content": "QUESTION"}]]
GROW = "{% set ns = namespace(x='a' * 1000) %}{% for i in range(40) %}{% set ns.x = ns.x OP ns.x %}{% endfor %}{{ ns.x }}"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"


def test_a_template_renders_as_it_does_in_the_library():
    text = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}"
    two = [[{"role": "user", "content": " a "}], [{"role": "user", "content": "ü\u2028"}]]
    assert render(text, two, False, {"eos_token": "$"}) == ["<user>a$", "<user>ü$"]


def test_the_process_waits_for_the_next_template_however_long_that_takes(monkeypatch):
    monkeypatch.setattr(chat_template, "DEADLINE_S", 0.5)
    assert render("a", ASK, True, {}) == ["a"]
    process = chat_template._Renderer.running.process
    time.sleep(1.5)  # past twice the deadline, after which it ends itself if it still renders
    assert process.poll() is None
    assert render("b", ASK, True, {}) == ["b"]


def test_a_process_that_was_killed_is_replaced():
    assert render("a", ASK, True, {}) == ["a"]
    chat_template._Renderer.running.process.kill()
    chat_template._Renderer.running.process.wait()
    assert render("b", ASK, True, {}) == ["b"]


@pytest.mark.parametrize(
    "template",
    [
        LOOP,
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        GROW.replace("OP", "+"),
        GROW.replace("OP", "~"),
        "{{ 'a' * 10 ** 10 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ 'a'.ljust(10 ** 10) }}",
        "{{ [1] * 10 ** 10 }}",
        "{{ 'ab' | center(10 ** 10) }}",
    ],
)
def test_what_loops_or_grows_for_ever_is_an_error_within_its_limits(template, monkeypatch):
    monkeypatch.setattr(chat_template, "DEADLINE_S", 2.0)
    began = time.monotonic()
    with pytest.raises(ChatTemplateError):
        render(template, ASK, True, {})
    assert time.monotonic() - began < 10
    assert render("{{ messages[0].content }}", ASK, True, {}) == ["QUESTION"], "the next one is served"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ 10.0 ** 999 }}", "OverflowError"),
        ("{{ '\\ud800' }}", "UnicodeEncodeError"),
        ("{{ messages.clear() }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ raise_exception('no') }}", "TemplateError: no"),
        ("{% include '/etc/passwd' %}", "TypeError"),
    ],
)
def test_a_templates_own_errors_are_named(template, said):
    with pytest.raises(ChatTemplateError, match=said):
        render(template, ASK, True, {})
