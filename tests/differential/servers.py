"""The configuration under which both proxies are compared: a server block per set of settings."""

import atexit
import shutil
import tempfile
from pathlib import Path

import support.pki
from support.dns import SERVFAIL, Record, Reply, Zone, client, reverse

IMAP = "protocol imap; imap_auth plain login cram-md5 external;"
POP3 = "protocol pop3; pop3_auth plain apop cram-md5 external;"
SMTP = "protocol smtp; smtp_auth plain login cram-md5 external;"

PKI = support.pki.PKI(Path(tempfile.mkdtemp(prefix="pki-")))
"""One for both proxies, so that serial numbers and fingerprints are alike."""
atexit.register(shutil.rmtree, PKI.directory)

SERVERS = {
    "imap": f"{IMAP}",
    "imap-plain": "protocol imap;",
    "imap-capabilities": "protocol imap; imap_auth cram-md5; imap_capabilities IMAP4rev1 IDLE 'X Y';",
    "imap-errors": f"{IMAP} max_errors 2;",
    "imap-no-errors": f"{IMAP} max_errors 0;",
    "imap-small": f"{IMAP} imap_client_buffer 256; proxy_buffer 256;",
    "imap-small-quick": f"{IMAP} imap_client_buffer 256; timeout 2s;",
    "imap-pass": f"{IMAP} proxy_pass_error_message on;",
    "imap-quick": f"{IMAP} timeout 2s; auth_http_timeout 2s; proxy_timeout 2s;",
    "imap-header": f"{IMAP} auth_http 127.0.0.1:AUTH_PORT/in/mail?x=1&y=%41; "
    "auth_http_header X-Key 'se cret'; auth_http_header X-Other a:b;",
    "imap-bare-uri": f"{IMAP} auth_http 127.0.0.1:AUTH_PORT;",
    "imap-query": f"{IMAP} auth_http http://127.0.0.1:AUTH_PORT?a=b;",
    "imap-unix": f"{IMAP} auth_http unix:AUTH_PATH:/auth;",
    "imap-refused": f"{IMAP} auth_http 127.0.0.1:DEAD_PORT/auth;",
    "imap-no-socket": f"{IMAP} auth_http unix:/nonexistent/auth.sock:/auth;",
    "pop3": f"{POP3}",
    "pop3-plain": "protocol pop3;",
    "pop3-apop": "protocol pop3; pop3_auth apop; pop3_capabilities TOP LAST;",
    "pop3-errors": f"{POP3} max_errors 2;",
    "pop3-pass": f"{POP3} proxy_pass_error_message on;",
    "pop3-quick": f"{POP3} timeout 2s; auth_http_timeout 2s; proxy_timeout 2s;",
    "smtp": f"{SMTP}",
    "smtp-plain": "protocol smtp;",
    "smtp-capabilities": "protocol smtp; smtp_auth cram-md5; smtp_capabilities '8BITMIME' 'SIZE 1000';",
    "smtp-none": "protocol smtp; smtp_auth plain login none;",
    "smtp-only-none": "protocol smtp; smtp_auth none; xclient off;",
    "smtp-errors": f"{SMTP} max_errors 2;",
    "smtp-small": "protocol smtp; smtp_auth plain none; smtp_client_buffer 256; proxy_buffer 256;",
    "smtp-pass": "protocol smtp; smtp_auth plain login none; proxy_pass_error_message on;",
    "smtp-no-xclient": "protocol smtp; smtp_auth plain login none; xclient off;",
    "smtp-auth": "protocol smtp; smtp_auth plain login cram-md5 external; proxy_smtp_auth on;",
    "smtp-auth-no-xclient": "protocol smtp; smtp_auth plain login; proxy_smtp_auth on; xclient off;",
    "smtp-delay": "protocol smtp; smtp_greeting_delay 500ms;",
    "smtp-quick": f"{SMTP} timeout 2s; auth_http_timeout 2s; proxy_timeout 2s;",
    "imap-proxied": f"{IMAP}",
    "imap-believed": f"{IMAP} set_real_ip_from 10.0.0.0/8; set_real_ip_from 127.0.0.0/8;",
    "imap-disbelieved": f"{IMAP} set_real_ip_from 10.0.0.0/8; set_real_ip_from ::/0; set_real_ip_from unix:;",
    "imap-sends-proxy": f"{IMAP} set_real_ip_from 127.0.0.1; proxy_protocol on;",
    "smtp-named": "protocol smtp; set_real_ip_from 127.0.0.1; resolver 127.0.0.1:DNS_PORT;",
    "smtp-nameless": "protocol smtp; set_real_ip_from 127.0.0.1; resolver off;",
}

OWN = f"ssl_certificate {PKI.server.certificate}; ssl_certificate_key {PKI.server.key};"
SECURE = f"{OWN} ssl_protocols TLSv1.2 TLSv1.3;"
RULES = f"ssl_client_certificate {PKI.ca.path}; ssl_crl {PKI.crl};"
for _name, _auth in (("imap", IMAP), ("pop3", POP3), ("smtp", SMTP)):
    SERVERS |= {
        f"{_name}-tls": f"{_auth} {SECURE}",
        f"{_name}-starttls": f"{_auth} {SECURE} starttls on;",
        f"{_name}-starttls-only": f"{_auth} {SECURE} starttls only;",
        f"{_name}-tls-verify": f"{_auth} {SECURE} {RULES} ssl_verify_client on;",
    }
SERVERS |= {
    "imap-starttls-verify": f"{IMAP} {SECURE} {RULES} starttls on; ssl_verify_client on;",
    "imap-tls-optional": f"{IMAP} {SECURE} {RULES} ssl_verify_client optional;",
    "imap-tls-no-ca": f"{IMAP} {SECURE} ssl_client_certificate {PKI.ca.path}; "
    "ssl_verify_client optional_no_ca; auth_http_pass_client_cert on;",
    "imap-tls-depth": f"{IMAP} {SECURE} ssl_client_certificate {PKI.ca.path}; ssl_verify_client on; "
    "ssl_verify_depth 0;",
    "imap-tls-ciphers": f"{IMAP} {OWN} ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;",
}

PROXIED = {
    *("imap-proxied", "imap-believed", "imap-disbelieved", "imap-sends-proxy"),
    *("smtp-named", "smtp-nameless"),
}
"""Where a PROXY header comes first."""

NAMES = Zone(
    client("192.0.2.1", "one.example")
    | client("2001:db8::1", "six.example")
    | client("192.0.2.3", "three.example", back="192.0.2.33")
    | {(reverse("192.0.2.4"), "PTR"): Reply([Record("PTR", "four.example")])}
    | {(reverse("192.0.2.5"), "PTR"): Reply(code=SERVFAIL)}
    | {(reverse("192.0.2.6"), "PTR"): Reply([Record("PTR", "six6.example")])}
    | {("six6.example", kind): Reply(code=SERVFAIL) for kind in ("A", "AAAA")}
    | client("192.0.2.7", "SEVEN.Example")
)
"""What name servers say of clients."""


def protocol(server: str) -> str:
    """The protocol that a server block of this name speaks."""
    return server.partition("-")[0]


def mail_block(ports: dict[str, int], auth: int, auth_path: str, dead: int, dns: int) -> str:
    """The inside of ``mail {}`` with each named server listening on its port."""
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{port}{' proxy_protocol' * (name in PROXIED)}"
        f"{' ssl' * ('-tls' in name)}; {SERVERS[name]} }}"
        for name, port in ports.items()
    )
    block = f"server_name mail.example.com;\nauth_http 127.0.0.1:AUTH_PORT/auth;\n{servers}"
    names = {"AUTH_PORT": str(auth), "AUTH_PATH": auth_path, "DEAD_PORT": str(dead), "DNS_PORT": str(dns)}
    for name, value in names.items():
        block = block.replace(name, value)
    return block
