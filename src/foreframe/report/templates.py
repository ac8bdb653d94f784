"""HTML pages from the templates beside this file; whatever is put into one is escaped."""

from functools import cache
from typing import Any

import jinja2

import foreframe
from foreframe.report.numbers import plural


@cache
def _environment(room: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(one, "") for one in dict.fromkeys((room, "foreframe.report"))]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plural"] = plural
    return environment


def render(template: str, room: str = "foreframe.report", /, **shown: Any) -> str:
    """A page as text.

    Args:
        template: file name of the template.
        room: package that the template lies in; what it extends or includes may also lie beside
            this file.
        shown: values by the names that the template gives them.
    """
    page = _environment(room).get_template(template)
    return page.render(version=foreframe.__version__, **shown)
