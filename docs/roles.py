"""A hook of mkdocs: Sphinx roles in docstrings, such as ``:class:`Report```, are shown as the code that they mark."""

import re
from typing import Any

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>|<a |<autoref)")


def on_page_content(html: str, **_: Any) -> str:
    """The page without the names of roles."""
    return _ROLE.sub("", html)
