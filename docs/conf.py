"""The documentation site: ``python -m sphinx -W -n docs build/docs``."""

import re
from typing import ClassVar

from pygments.lexer import RegexLexer
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Generic, Keyword, Name, String
from sphinx.application import Sphinx

project = "fastmail"
author = "fastmail authors"
html_title = "fastmail"
html_theme = "furo"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["man"]
html_static_path = ["_static"]
html_css_files = ["site.css"]


class DialogueLexer(RegexLexer):
    """What client, fastmail, auth server and backend say to each other: see concepts.md."""

    flags = re.MULTILINE
    tokens: ClassVar = {
        "root": [
            (r"^C: .*\n", Keyword),
            (r"^S: .*\n", Generic.Output),
            (r"^[QA]: .*\n", Name.Function),
            (r"^[FB]: .*\n", String),
            (r"^\(.*\)\n", Comment),
            (r".*\n", Generic.Error),
        ]
    }


def setup(app: Sphinx) -> None:
    app.add_lexer("dialogue", DialogueLexer)
    app.add_lexer("log", TextLexer)
