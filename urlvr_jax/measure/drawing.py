"""How figures look: lines, limits, legends, and how numbers and names are written in them."""

from __future__ import annotations

import re

BLUE = "#1f5fa8"
ORANGE = "#d9711c"
GREEN = "#2e8b57"
GREY = "#777777"
OTHERS = (BLUE, GREEN, "#7b5ea7", "#8c564b", "#c9a227")  # of curves that have no meaning by their colour
FEW = 12  # points of a curve, and fewer: each is marked


def pyplot(size: int):
    """matplotlib's, without a display; texts are taken as they are, whatever $ they have."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}
    pyplot.rcParams.update({"font.size": size, **style})
    return pyplot


def number(value: object) -> str:
    """A number as one types it: 3e-4, not 0.0003 or 3e-04."""
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1e6:
        return f"{value:g}"
    mantissa, exponent = f"{value:.5e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def name(text: str, longest: int = 48) -> str:
    """A name or a reward as a figure says it: in one line, without the folders of quoted files, not too long."""
    text = re.sub(r"""(['"])[^'"]*/""", r"\1", " ".join(text.split()))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def curve(axis, points: tuple[list, list], **style) -> None:
    """A line; where it has few points each is marked, so that one alone is seen."""
    if len(points[0]) <= FEW:
        style = {"marker": "o", "ms": 3} | style
    if points[0]:
        axis.plot(*points, **style)


def span(axis, low: float, high: float) -> None:
    """Limits such that lines at either end are seen whole."""
    margin = 0.03 * (high - low)
    axis.set_ylim(low - margin, high + margin)


def steps(axis, last: int) -> None:
    """The axis of steps 0 to `last`."""
    axis.set_xlabel("training step")
    axis.set_xlim(-0.02 * max(1, last), 1.02 * max(1, last))
    axis.xaxis.get_major_locator().set_params(integer=True)


def legend_below(*axes) -> None:
    """One legend for axes that share a panel, under it, where no curve runs."""
    from matplotlib.transforms import ScaledTranslation

    handles = [h for axis in axes for h in axis.get_legend_handles_labels()[0]]
    labels = [h.get_label() for h in handles]
    if not handles:
        return
    below = axes[0].transAxes + ScaledTranslation(0, -0.42, axes[0].figure.dpi_scale_trans)  # inches
    axes[0].legend(
        handles, labels, fontsize=7.5, frameon=False, ncols=1 if max(map(len, labels)) > 36 else 2,
        loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below,
    )  # fmt: skip
