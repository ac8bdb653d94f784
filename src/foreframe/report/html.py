"""Small pieces of HTML. Every one of them escapes what it is given."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeGuard

from foreframe.visuals import Chart


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` can be written as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> str:
    """A count or setting in words that are safe in HTML; "?" where there is none."""
    return f"{value:g}" if is_number(value) else "?"


def plural(count: Any, noun: str) -> str:
    """A count and its noun: 1 frame, 2 frames."""
    return f"{number(count)} {noun}" + ("" if count == 1 else "s")


def signed(value: float, digits: int) -> str:
    """With its sign, a true minus among them; never -0."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def tile(name: str, value: str, unit: str, words: str, gain: float | None = None) -> str:
    """A headline number; a gain colours it as good or bad (its sign says so too)."""
    kind = "" if gain is None or abs(gain) < 0.005 else "good" if gain > 0 else "bad"
    return (
        f'<li><span class="name">{escape(name)}</span><b class="{kind}">{escape(value)} '
        f"<small>{escape(unit)}</small></b><span>{escape(words)}</span></li>"
    )


def note(words: str, command: str | None = None) -> str:
    """A remark that should not be overlooked, with the command that helps."""
    code = f"<code>{escape(command)}</code>" if command else ""
    return f'<div class="note" role="note"><p>{escape(words)}{code}</p></div>'


def definitions(facts: Mapping[str, str]) -> str:
    """Terms and what they are."""
    rows = [f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in facts.items()]
    return f"<dl>{''.join(rows)}</dl>"


def settings(values: Mapping[str, Any], title: str = "run") -> str:
    """A nested configuration: the plain settings of each level under its name."""
    plain = {k: _setting(v) for k, v in values.items() if not isinstance(v, Mapping)}
    parts = []
    if plain:
        parts.append(f"<div><h3>{escape(title)}</h3>{definitions(plain)}</div>")
    for name, inner in values.items():
        if isinstance(inner, Mapping):
            path = name if title == "run" else f"{title}.{name}"
            parts.append(settings(inner, path))
    return "".join(parts)


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def chart_figures(charts: Sequence[Chart]) -> str:
    """Charts with their titles; each is told in a sentence to whoever cannot see it."""
    return "".join(_chart_figure(chart) for chart in charts)


def _chart_figure(chart: Chart) -> str:
    legend = ""
    if len(chart.series) > 1:
        items = [
            f'<li><svg class="key-{k}" viewBox="0 0 28 8" aria-hidden="true">'
            f'<path d="M0 4h28"/></svg>{escape(name)}</li>'
            for k, name in enumerate(chart.series, 1)
        ]
        legend = f'<ul class="legend">{"".join(items)}</ul>'
    label = escape(f"{chart.title}. {chart.summary}")
    return (
        f'<figure class="chart"><h3>{escape(chart.title)}</h3>{legend}'
        f'<div role="img" aria-label="{label}">{chart.svg}</div></figure>'
    )
