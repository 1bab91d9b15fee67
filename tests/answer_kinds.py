r"""Kinds of answers that are easily read wrong, each with its reason, made by hand.

KINDS: (why, ways to write one answer, near misses that differ from it).
"""

KINDS = [
    ("f(3) is what a function gives, not a product", ["f(3)", r"f\left(3\right)", "f[3]"], ["3f", "f3", "f(4)", "g(3)", "3", "f"]),
    ("a function of a sum is no sum", ["f(x+1)", "f(1+x)"], ["fx+f", "f(x)+f(1)", "f(x)+1", "f(x-1)"]),
    ("twice a function is not the function of twice", ["2f(x)", "f(x)+f(x)"], ["f(2x)", "2fx"]),
    ("any letter before one number or letter is a function", ["P(A)", "P( A )"], ["AP", r"P \cdot A", "P(B)", "P"]),
    ("an index belongs to the function's name", ["a_n(3)", "a_{n}(3)"], ["3a_n", "a_n", "a_3(n)"]),
    ("the inverse of a function is not its reciprocal", ["f^{-1}(3)"], [r"\frac{3}{f}", r"\frac{1}{f(3)}", "f(3)"]),
    ("a number before a bracket multiplies", ["2(3)", "6", "(2)(3)"], ["23", "2.3"]),
    ("other letters before a bracket multiply", ["x(x+1)", "x^2+x", "(x+1)x"], ["x^2+1", "x(x-1)"]),
    ("h is a height more often than a function", [r"\frac{h(a+b)}{2}", r"\frac{(a+b)h}{2}"], [r"\frac{ha+b}{2}"]),
    ("pi is a number", [r"\pi(3)", r"3\pi"], [r"\pi", r"\pi^3"]),
    (
        "degrees are what sin, cos and tan are taken of",
        [r"\sin 30^\circ", r"\frac{1}{2}", r"\sin(30°)", r"\cos 60^{\circ}", r"\sin 30 \text{ degrees}", r"\sin\frac{\pi}{6}", r"2\sin^2 30^\circ"],
        [r"\sin 30", r"\sin 60^\circ", r"\cos 30^\circ", "30", r"-\sin 30^\circ"],
    ),
    ("tan has a sign", [r"\tan 135^\circ", "-1", r"-\tan\frac{\pi}{4}"], [r"\tan 135", r"\tan 45^\circ", "1"]),
    ("15 degrees have a value in roots", [r"\sin 15^\circ", r"\frac{\sqrt6-\sqrt2}{4}"], [r"\cos 15^\circ", r"\sin 15"]),
    ("other angles have none", [r"\sin 20^\circ", r"\sin\frac{\pi}{9}", "sin(20°)"], [r"\sin 20", r"\sin 10^\circ", "20"]),
    ("tan 90 degrees is not defined", [r"\tan 90^\circ"], [r"\tan 90", "0", r"\infty"]),
    ("degrees behind anything else are a unit", ["(5+3)^\\circ", "8"], [r"\sin 8^\circ"]),
    ("the power of a logarithm is its argument", [r"e^{\ln 3}", "3", r"2^{\log_2 3}", r"\sqrt{4^{\log_2 3}}"], [r"e^3", r"\ln 3", r"3^{\ln 2}", r"10^{\log 3}"]),
    ("factors and sums in the exponent", [r"e^{2\ln x+1}", "ex^2"], [r"2ex", "x^2", r"e^{2\ln x}+1"]),
    ("a bound on a function bounds no letter", ["|x|<3", "3>|x|"], ["x<3", "|x|>3", "(-\\infty,3)"]),
    ("the same for sines", [r"\sin x>\frac12", r"2\sin x>1"], [r"x>\frac12", r"(\frac12,\infty)", r"\cos x>\frac12"]),
]  # fmt: skip
