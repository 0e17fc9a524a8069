"""Where fastmail's verdict on a configuration is meant to differ from Debian's nginx (1.22.1), and why.

"Older nginx" means that current nginx does as fastmail does. A row that nginx's verdict already fulfils, or that
names no case, fails the run.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from configuration import Verdict

ACCEPTED = (
    "nginx: the configuration file DIR/n.conf syntax is ok\n"
    "nginx: configuration file DIR/n.conf test is successful\n"
)


def accepted(*warnings: str) -> Verdict:
    return Verdict(0, "".join(f"nginx: [warn] {warning}\n" for warning in warnings) + ACCEPTED)


def refused(message: str, *, file: str = "n.conf", parsed: bool = False) -> Verdict:
    first = ACCEPTED.splitlines(keepends=True)[0] if parsed else ""
    return Verdict(1, f"{first}nginx: [emerg] {message}\nnginx: configuration file DIR/{file} test failed\n")


def ignored(block: str, line: int = 3) -> str:
    return f'"{block}" block has no use in a mail proxy, ignored in DIR/n.conf:{line}'


@dataclass(frozen=True)
class Difference:
    """``verdicts``: fastmail's, by the case's name."""

    reason: str
    verdicts: dict[str, Verdict]


def everywhere(seen: Verdict) -> Verdict:
    """Older nginx: the text about a parameter of ``listen`` that is unknown."""
    return replace(
        seen, output=re.sub(r'the invalid "(.*)" parameter in', r'invalid parameter "\1" in', seen.output)
    )


MODULE_MISSING = "Debian's nginx is without this module"
DIFFERENCES = [
    Difference(
        'older nginx: "ssl" is a directive',
        {
            "main: ssl on;": refused('unknown directive "ssl" in DIR/n.conf:3'),
            "mail: ssl on;": refused('unknown directive "ssl" in DIR/n.conf:4'),
        },
    ),
    Difference(
        'older nginx: "proxy_protocol" is a flag, without v2',
        {
            "mail: proxy_protocol foo;": refused('invalid value "foo" in DIR/n.conf:4'),
            "mail: proxy_protocol '';": refused('invalid value "" in DIR/n.conf:4'),
        },
    ),
    Difference(
        "no module is loaded, so none is loaded already",
        {
            "main alone: load_module /usr/lib/nginx/modules/ngx_mail_module.so;": refused(
                'no "events" section in configuration', parsed=True
            ),
        },
    ),
    Difference(
        f"{MODULE_MISSING}; the block is read over with a warning",
        {
            "main: stream {}": accepted(ignored("stream")),
            "main: mgmt {}": accepted(ignored("mgmt")),
            "main: rtmp {}": accepted(ignored("rtmp")),
            "main: stream;": refused('directive "stream" has no opening "{" in DIR/n.conf:3'),
            "mail: stream {}": refused('"stream" directive is not allowed here in DIR/n.conf:4'),
        },
    ),
    Difference(MODULE_MISSING, {"main: google_perftools_profiles x;": accepted()}),
    Difference(
        "nginx writes a counter of its own at level debug",
        {"main: error_log stderr debug;": accepted()},
    ),
    Difference(
        "the mail module is part of fastmail, not loaded by the file: its directives are always known",
        {
            "-p DIR -e boot.log -t -c directory/one.inc": refused(
                '"timeout" directive is not allowed here in DIR/directory/one.inc:1', file="directory/one.inc"
            ),
            "-p DIR -e boot.log -t -c mail.conf -g timeout 1s;": refused(
                '"timeout" directive is not allowed here in command line', file="mail.conf"
            ),
        },
    ),
]


def intended(name: str) -> Verdict | None:
    """fastmail's verdict on the case if it is not to be nginx's."""
    return next((row.verdicts[name] for row in DIFFERENCES if name in row.verdicts), None)


def names() -> Iterable[str]:
    return [name for row in DIFFERENCES for name in row.verdicts]
