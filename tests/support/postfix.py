"""A real Postfix that delivers into maildirs, in a directory of its own and on free ports."""

import os
import shutil
from collections.abc import Sequence

from support import ports
from support.dovecot import Dovecot
from support.pki import Files
from support.program import Program

DOMAIN = "example.com"

_MASTER = "/usr/lib/postfix/sbin/master"

_MAIN = """
compatibility_level = 3.7
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = all
myhostname = postfix.example
mydestination =
mynetworks =
alias_maps =
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtpd_forbid_bare_newline = no
smtpd_forbid_unauth_pipelining = no
message_size_limit = 100000000
mailbox_size_limit = 0
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_authenticated_header = yes
local_header_rewrite_clients =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""

_SERVICES = """
{submission}       inet  n - n - - smtpd {only_logged_in}
{submission_xclient} inet n - n - - smtpd {only_logged_in} {believe}
{incoming}         inet  n - n - - smtpd
{incoming_xclient} inet  n - n - - smtpd {believe}
{incoming_proxied} inet  n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy
{secure}cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
retry     unix - - n - - error
error     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
proxymap  unix - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
"""
_ONLY_LOGGED_IN = "-o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
_QUEUES = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
    "trace",
)  # fmt: skip
_BELIEVE = "-o smtpd_authorized_xclient_hosts=127.0.0.1"


class Postfix(Program):
    """Takes mail for the users given, at DOMAIN, into Dovecot's maildirs.

    ``submission`` asks for a login, by SASL at Dovecot's ``sasl`` socket; ``incoming`` asks for none. The
    ports whose names end in ``_xclient`` believe XCLIENT from 127.0.0.1, LOGIN included;
    ``incoming_proxied`` wants a PROXY header first. Postfix refuses to run as anybody but root; without
    root the constructor raises RuntimeError. With a certificate ``tls`` there are ``submission_starttls``,
    which takes a login in TLS only, and ``submissions``, TLS from the first byte.
    """

    def __init__(self, dovecot: Dovecot, users: Sequence[str], *, tls: Files | None = None) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("Postfix runs as root only: run the tests that need it as root")
        super().__init__("postfix")
        self._tls = tls
        self.submission = ports.reserve()
        self.submission_xclient = ports.reserve()
        self.submission_starttls = ports.reserve()
        self.submissions = ports.reserve()
        self.incoming = ports.reserve()
        self.incoming_xclient = ports.reserve()
        self.incoming_proxied = ports.reserve()
        self._make_directories()
        self._configure(dovecot, users)
        listens = [self.submission, self.submission_xclient]
        listens += [self.incoming, self.incoming_xclient, self.incoming_proxied]
        if tls:
            listens += [self.submission_starttls, self.submissions]
        self._start([_MASTER, "-c", str(self.directory)], listens)

    def log(self) -> str:
        """What it has logged so far."""
        log = self.directory / "log"
        return log.read_text("latin-1") if log.exists() else ""

    def said(self) -> str:
        return super().said() + self.log()

    def _make_directories(self) -> None:
        """As Debian's package makes them below /var."""
        for name in _QUEUES:
            self._make_directory(f"queue/{name}", 0o700, "postfix")
        self._make_directory("queue/maildrop", 0o730, "postfix", "postdrop")
        self._make_directory("queue/public", 0o710, "postfix", "postdrop")
        self._make_directory("queue/pid", 0o755, "root")
        self._make_directory("data", 0o700, "postfix")

    def _make_directory(self, name: str, mode: int, user: str, group: str = "root") -> None:
        path = self.directory / name
        path.mkdir(parents=True)
        path.chmod(mode)
        shutil.chown(path, user, group)

    def _configure(self, dovecot: Dovecot, users: Sequence[str]) -> None:
        mail = dovecot.directory / "mail"
        owner = mail.stat()
        gid = owner.st_gid or 65534  # virtual(8) never delivers as group 0
        main = _MAIN.format(
            directory=self.directory, sasl=dovecot.sasl, mail=mail, domain=DOMAIN, uid=owner.st_uid, gid=gid,
        )  # fmt: skip
        services = _SERVICES.format(
            only_logged_in=_ONLY_LOGGED_IN, believe=_BELIEVE, submission=f"127.0.0.1:{self.submission}",
            submission_xclient=f"127.0.0.1:{self.submission_xclient}", incoming=f"127.0.0.1:{self.incoming}",
            incoming_xclient=f"127.0.0.1:{self.incoming_xclient}",
            incoming_proxied=f"127.0.0.1:{self.incoming_proxied}", secure=self._secure_services(),
        )  # fmt: skip
        if self._tls is not None:
            main += f"smtpd_tls_cert_file = {self._tls.certificate}\nsmtpd_tls_key_file = {self._tls.key}\n"
        mailboxes = "".join(f"{user}@{DOMAIN} {user}/mail/\n" for user in users)
        (self.directory / "mailboxes").write_text(mailboxes)
        (self.directory / "main.cf").write_text(main)
        (self.directory / "master.cf").write_text(services)

    def _secure_services(self) -> str:
        if self._tls is None:
            return ""
        auth = f"{_ONLY_LOGGED_IN} {_BELIEVE} -o smtpd_tls_auth_only=yes"
        return (
            f"127.0.0.1:{self.submission_starttls} inet n - n - - smtpd {auth} "
            "-o smtpd_tls_security_level=may\n"
            f"127.0.0.1:{self.submissions} inet n - n - - smtpd {auth} -o smtpd_tls_wrappermode=yes\n"
            "tlsmgr unix - - n 1000? 1 tlsmgr\n"
        )
