"""How answers are written: LaTeX and Unicode brought to one notation, brackets, lists and units."""

from __future__ import annotations

import re

from urlvr_jax.answers.algebra import Outside
from urlvr_jax.answers.formula import is_word

_SPACE = ("\\, \\; \\: \\> \\quad \\qquad \\displaystyle \\textstyle \\scriptstyle \\limits \\hline "
          "\\thinspace \\hfill \\notag \\nonumber")  # fmt: skip
_GONE = ("\\! \\left \\right \\big \\Big \\bigg \\Bigg \\bigl \\bigr \\Bigl \\Bigr \\biggl \\biggr \\Biggl "
         "\\Biggr \\middle \\boxed \\fbox \\ensuremath \\( \\) \\[ \\]")  # fmt: skip
_TEXT = ("\\mbox \\hbox \\textrm \\textbf \\textit \\textsf \\texttt \\textnormal \\mathrm \\mathbf \\mathit "
         "\\mathsf \\boldsymbol \\emph")  # fmt: skip
_COMMANDS = {
    **dict.fromkeys(_SPACE.split(), " "), "\\ ": " ", "\\\n": " ", **dict.fromkeys(_GONE.split(), ""),
    **dict.fromkeys(_TEXT.split(), "\\text"), "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac",
    "\\dbinom": "\\binom", "\\tbinom": "\\binom", "\\cdot": "*", "\\times": "*", "\\ast": "*", "\\div": "/",
    "\\le": "≤", "\\leq": "≤", "\\leqslant": "≤", "\\ge": "≥", "\\geq": "≥", "\\geqslant": "≥", "\\lt": "<",
    "\\gt": ">", "\\ne": "≠", "\\neq": "≠", "\\in": "∈", "\\cup": "∪", "\\pm": "±", "\\mp": "∓",
    "\\circ": "°", "\\degree": "°", "\\textdegree": "°", "\\%": "%", "\\$": "$", "\\lbrace": "\\{",
    "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]", "\\lvert": "|", "\\rvert": "|", "\\vert": "|",
    "\\mid": "|", "\\langle": "⟨", "\\rangle": "⟩", "\\colon": ":", "\\ldots": "...", "\\dots": "...",
    "\\cdots": "...", "\\lor": " or ", "\\vee": " or ", "\\infin": "\\infty", "\\varnothing": "\\emptyset",
    "\\approx": "≈", "\\thickapprox": "≈", "\\simeq": "≈", "\\textsuperscript": "^", "\\&": "&", "\\#": "#", "\\_": "_",
}  # fmt: skip
_UNICODE = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑", "-"), **dict.fromkeys("×·⋅∙∗", "*"), "÷": "/", "∕": "/", "⁄": "/",
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\t\n\r", " "), "\u200b": "", "\ufeff": "",
        "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt ", "⩽": "≤", "⩾": "≥", "½": "\\frac{1}{2}",
        "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "²": "^2", "³": "^3", "…": "...", "∅": "\\emptyset ",
        "~": " ", "ℝ": "\\mathbb{R}", "º": "°", "∨": " or ", "’": "'", "θ": "\\theta ", "α": "\\alpha ",
        "β": "\\beta ", "∠": "\\angle ", "λ": "\\lambda ", "：": ":", "，": ",", "（": "(", "）": ")", "‐": "-",
    }
)  # fmt: skip
_JOINED = re.compile(r"(?<=\d)(?:\{,\}|,?\\,|,?\s?\\!\s?)(?=\d{3}(?!\d))")
_ONE = re.compile(r"(?<![\d\s})])\\text\s*\{\s*([A-Za-z]|-?\d+(?:\.\d+)?)\s*\}(?!\s*[\^A-Za-z])")
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_COMMAND = re.compile(r"\\(?:[A-Za-z]+\*?|.)", re.S)
EMPTY_SET = re.compile(r"\\emptyset|\\\{\s*\\\}|(?:the )?empty set", re.I)

# Units that are dropped. Single letters only in \text{}: elsewhere they are variables.
_LETTERS = "m|s|g|h|l|n|j|w|v|a|k|c|f"
_UNITS = (
    "degrees?|deg|radians?|rad|rads|[cmdk]m|mm|nm|kilometers?|kilometres?|centimeters?|centimetres?|millimeters?"
    "|millimetres?|meters?|metres?|inch|inches|in|feet|foot|ft|yards?|yds?|miles?|mi|mph|kph|acres?|hectares?"
    "|seconds?|secs?|minutes?|mins?|hours?|hrs?|hr|days?|weeks?|months?|years?|yrs?"
    "|grams?|kilograms?|milligrams?|kg|mg|lbs?|pounds?|ounces?|oz|tons?|tonnes?"
    "|liters?|litres?|milliliters?|millilitres?|ml|gallons?|gal|quarts?|pints?|cups?"
    "|dollars?|cents?|euros?|usd|bucks|units?|points?|people|persons?|students?|ways|times|hz|newtons?|joules?|watts?"
)
_POWER = r"(?:\s*\^\s*(?:\d|\{\s*\d\s*\}))?"
_WORD_POWER = r"(?:\s+(?:squared|cubed))?"
_SIZE = r"(?:(?:square|cubic|sq\.?|cu\.?)\s+)?"


def _unit(names: str) -> str:
    one = rf"(?:{names})\b\.?{_POWER}{_WORD_POWER}"
    return rf"{_SIZE}{one}(?:\s*(?:/|per)\s*{one})?"


_IN_TEXT = re.compile(
    rf"\s*\\text\s*\{{\s*{_unit(_UNITS + '|' + _LETTERS)}\s*\}}{_POWER}"
    rf"(?:\s*/\s*\\text\s*\{{\s*{_unit(_UNITS + '|' + _LETTERS)}\s*\}}{_POWER})?\s*$",
    re.I,
)
_BARE = re.compile(rf"(?<=[\d\s}})])\s*\b{_unit(_UNITS)}\s*$", re.I)
_DEGREE = re.compile(r"\s*(?:\^\s*)?(?:°|\{\s*°\s*\})\s*(?:\\text\s*\{\s*)?[CF]?(?:\s*\})?\s*$")
_ANGLE = re.compile(r"(?<!arc)(?:sin|cos|tan|cot|sec|csc)(?=\s{0,9}[\^({\d\\]|\s{1,9}[a-z](?![a-z]))")
_DEGREES = re.compile(r"(?<=[\d)}])\s{0,9}(?:\\text\s{0,9}\{\s{0,9}degrees?\s{0,9}\}|degrees?\b)")
_PERCENT = re.compile(
    r"\s*(?:\\text\s*\{\s*(?:per ?cent|pct|%)\s*\}|(?<![A-Za-z])(?:per ?cent|pct)\b)\s*$", re.I
)
_CURRENCY = re.compile(r"^\s*([-+]?)\s*[€£¥]\s*|\s*[€£¥¢]\s*$")
_TOKEN = re.compile(r"\\[{}]|\\.|.", re.S)
_OPEN, _CLOSE = frozenset(("{", "(", "[", "\\{", "⟨")), frozenset(("}", ")", "]", "\\}", "⟩"))
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")
_SPACED = re.compile(r"(?<![\w.,^}])(?<!\d )[1-9]\d{0,2}(?: \d{3})+(?!\d|\s?/|,\d)")


def clean(text: str) -> str:
    """One notation for what is written alike: commands, spacing, delimiters, Unicode, a final period."""
    text = _JOINED.sub("", _ROOT.sub(r"\\sqrt{\1}", text).translate(_UNICODE))
    text = _COMMAND.sub(lambda m: _COMMANDS.get(m[0].rstrip("*"), m[0]), text)
    text = text.replace("$", "").replace("<=", "≤").replace(">=", "≥").replace("!=", "≠").replace("==", "=")
    text = re.sub(r"\\text\s*\{\s*\}", "", _ONE.sub(r"\1", text))
    text = " ".join(text.split())
    while True:
        before = text
        text = text.strip().removesuffix("\\").strip('`*"')
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        if text == before:
            return text


def plain(text: str) -> str:
    """Without \\text{}, runs of blanks made one."""
    return clean(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text))


def marked(text: str) -> str:
    """`plain`, but for words of two or three letters that a formula would take for a product."""
    return clean(re.sub(r"\\text\s*\{([^{}]*)\}", _words_of, text))


def _words_of(match: re.Match) -> str:
    word = match[1].strip()
    product = re.fullmatch("[a-z]{2,3}", word) and not is_word(word)
    return f" \\text{{{word}}} " if product else f" {match[1]} "


def depths(text: str):
    """(position, token, depth before it) of a text; `Outside` where brackets do not balance."""
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _CLOSE:
            depth -= 1
            if depth < 0:
                raise Outside
        yield match.start(), token, depth
        depth += token in _OPEN
    if depth:
        raise Outside


def split(text: str, separators: str) -> tuple[list[str], list[str]]:
    """(parts, separators found) outside all brackets; `Outside` if these do not balance."""
    if not any(s in text for s in separators):
        return [text], []
    parts = []
    found = []
    start = 0
    for at, token, depth in depths(text):
        if depth == 0 and token in separators:
            parts.append(text[start:at])
            found.append(token)
            start = at + 1
    return [*parts, text[start:]], found


def enclosed(text: str, opening: str, closing: str) -> str | None:
    """What stands between an opening bracket at the start and its partner at the end."""
    if not (text.startswith(opening) and text.endswith(closing)) or len(text) < len(opening) + len(closing):
        return None
    last = len(text) - len(closing)
    if closing not in _CLOSE or any(depth == 0 and 0 < at < last for at, _, depth in depths(text)):
        return None
    return text[len(opening) : last].strip()


def peel(text: str) -> str:
    """Without braces around the whole."""
    text = text.strip()
    while text.startswith("{") and (inner := enclosed(text, "{", "}")) is not None:
        text = inner
    return text


def text_alone(text: str) -> str | None:
    """The content, if the whole is one \\text{}."""
    match = re.fullmatch(r"\\text\s*\{([^{}]*)\}", text)
    return match[1].strip() if match else None


def conjunctions(text: str) -> str:
    """`and` and `or` between answers as the separators , and ∨."""
    text = re.sub(r",?\s*(?:\\text\s*\{\s*and\s*\}|\band\b)", ",", text, flags=re.I)
    return re.sub(r",?\s*(?:\\text\s*\{\s*or\s*\}|\bor\b)", "∨", text, flags=re.I)


def join_thousands(text: str) -> str:
    """1,234 is one number outside brackets; inside them a comma always separates. 1 234 is one number anywhere."""
    if " " in text:
        text = _SPACED.sub(lambda match: match[0].replace(" ", ""), text)
    if "," not in text or not (matches := list(_THOUSANDS.finditer(text))):
        return text
    outside = {at for at, _, depth in depths(text) if depth == 0}
    for match in reversed(matches):
        if match.start() in outside:
            text = text[: match.start()] + match[0].replace(",", "") + text[match.end() :]
    return text


def french_interval(text: str) -> str:
    """]a,b[ as (a,b)."""
    match = re.fullmatch(r"([\[\]])([^\[\](){}]*[,;][^\[\](){}]*)([\[\]])", text)
    if not match or match[1] + match[3] == "[]":
        return text
    return {"]": "(", "[": "["}[match[1]] + match[2] + {"[": ")", "]": "]"}[match[3]]


def without_unit(text: str) -> str:
    """A quantity without the unit or currency behind or before it; % stays."""
    text = _PERCENT.sub("%", text)
    angle = ("°" in text or "deg" in text) and _ANGLE.search(text) is not None
    if angle:  # sin 30 degrees is not sin 30
        text = _DEGREES.sub("°", text)
    for pattern in (_IN_TEXT, _BARE) if angle else (_IN_TEXT, _BARE, _DEGREE):
        shorter = pattern.sub("", text)
        if shorter.strip():
            text = shorter
    return _CURRENCY.sub(r"\1", text) or text
