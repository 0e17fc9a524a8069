"""A real Dovecot with empty maildirs, in a directory of its own and on free ports."""

import functools
import getpass
import grp
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support import ports
from support.pki import Files
from support.program import Program, path_of

PASSWORD = "s3cret pass"

_COMMON = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = imap pop3
listen = 127.0.0.1
auth_mechanisms = plain login
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
default_process_limit = 600
default_client_limit = 2000
mail_max_userip_connections = 0
haproxy_trusted_networks = 127.0.0.1
mail_uid = {owner}
mail_save_crlf = yes
first_valid_uid = 0
service imap-login {{
  chroot =
  {endless}
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imap_proxied {{
    port = {imap_proxied}
    haproxy = yes
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  {endless}
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3_proxied {{
    port = {pop3_proxied}
    haproxy = yes
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service auth {{
  unix_listener {directory}/sasl {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


@dataclass(frozen=True)
class _Dialect:
    """What the versions say each in their own way; ``first`` has to be at the beginning of the file."""

    first: str
    endless: str
    users: str
    tls: str
    client_ca: str


_DIALECT_2_3 = _Dialect(
    first="",
    endless="service_count = 0",
    users="""
disable_plaintext_auth = no
mail_location = maildir:~/mail
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={gid} home={directory}/mail/%u
}}
""",
    tls="ssl_cert = <{tls.certificate}\nssl_key = <{tls.key}\n",
    client_ca="ssl_ca = <{ca}\nssl_verify_client_cert = yes\nssl_require_crl = no\n",
)
_DIALECT_2_4 = _Dialect(
    first="dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n",
    endless="restart_request_count = unlimited",
    users="""
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = ~/mail
passdb passwd-file {{
  default_password_scheme = PLAIN
  passwd_file_path = {directory}/users
}}
userdb static {{
  fields {{
    uid = {owner}
    gid = {gid}
    home = {directory}/mail/%{{user}}
  }}
}}
""",
    tls="ssl_server_cert_file = {tls.certificate}\nssl_server_key_file = {tls.key}\n",
    client_ca="ssl_server_ca_file = {ca}\nssl_server_request_client_cert = yes\n"
    "ssl_server_require_crl = no\n",
)


@functools.cache
def version() -> tuple[int, int]:
    """The major and minor number."""
    done = subprocess.run([path_of("dovecot"), "--version"], check=True, stdout=subprocess.PIPE, text=True)
    major, minor = done.stdout.split(".")[:2]
    return int(major), int(minor)


class Dovecot(Program):
    """Serves IMAP on ``imap`` and POP3 on ``pop3``; the users given can log in with PASSWORD.

    ``imap_proxied`` and ``pop3_proxied`` want a PROXY header first. ``sasl`` is the socket where Postfix can
    check logins. With a certificate ``tls``, ``imap`` and ``pop3`` offer STARTTLS, and ``imaps`` and
    ``pop3s`` speak TLS from the first byte; with a ``client_ca`` nobody logs in without a certificate.
    """

    def __init__(self, users: list[str], *, tls: Files | None = None, client_ca: Path | None = None) -> None:
        super().__init__("dovecot")
        self._tls, self._client_ca = tls, client_ca
        self.imaps = ports.reserve() if tls else 0
        self.pop3s = ports.reserve() if tls else 0
        self.imap = ports.reserve()
        self.pop3 = ports.reserve()
        self.imap_proxied = ports.reserve()
        self.pop3_proxied = ports.reserve()
        self.sasl = self.directory / "sasl"
        (self.directory / "mail").mkdir()
        (self.directory / "users").write_text("".join(f"{user}:{PASSWORD}\n" for user in users))
        configuration = self.directory / "dovecot.conf"
        configuration.write_text(self._configuration())
        listens = [self.imap, self.pop3, self.imap_proxied, self.pop3_proxied]
        if tls:
            listens += [self.imaps, self.pop3s]
        self._start([path_of("dovecot"), "-F", "-c", str(configuration)], listens, self.sasl.exists)

    def log(self) -> str:
        """What it has logged so far."""
        log = self.directory / "log"
        return log.read_text("latin-1") if log.exists() else ""

    def said(self) -> str:
        return super().said() + self.log()

    def messages(self, user: str) -> list[bytes]:
        """The inbox as it lies on disk, in no order."""
        inbox = self.directory / "mail" / user / "mail"
        return [path.read_bytes() for path in [*inbox.glob("cur/*"), *inbox.glob("new/*")]]

    def _configuration(self) -> str:
        if os.geteuid() == 0:  # the users that Debian's package has made
            owner, internal, login = "nobody", "dovecot", "dovenull"
            shutil.chown(self.directory / "mail", owner)
        else:
            owner = internal = login = getpass.getuser()
        dialect = _DIALECT_2_4 if version() >= (2, 4) else _DIALECT_2_3
        tls = "ssl = no\n"
        if self._tls is not None:
            tls = "ssl = yes\n" + dialect.tls.format(tls=self._tls)
        if self._client_ca is not None:
            tls += dialect.client_ca.format(ca=self._client_ca) + "auth_ssl_require_client_cert = yes\n"
        names = {"owner": owner, "internal": internal, "login": login}
        group = grp.getgrgid(pwd.getpwnam(internal).pw_gid).gr_name
        return (dialect.first + _COMMON + dialect.users).format(
            directory=self.directory, endless=dialect.endless, imaps=self.imaps, pop3s=self.pop3s,
            imap=self.imap, pop3=self.pop3, group=group,
            imap_proxied=self.imap_proxied, pop3_proxied=self.pop3_proxied,
            gid=pwd.getpwnam(owner).pw_gid, **names,
        ) + tls  # fmt: skip
