"""Configurations: certificates, keys and whatever else TLS is made of (reference 3.8 and 9.1)."""

from pathlib import Path

from configurations import Table
from support.pki import PKI

_DH_TOO_SMALL = """-----BEGIN DH PARAMETERS-----
MEYCQQDaWDwW2YUiidDkr3VvTMqS3UvlM7gE+w/tlO+cikQD7VdGUNNpmdsp13Yn
a6LT1BLiGPTdHghM9tgAPnxHdOgzAgEC
-----END DH PARAMETERS-----
"""


def lay_out(directory: Path) -> None:
    """The files that the texts name, good and bad."""
    pki = PKI(directory)
    certificate, key = pki.server.certificate.read_text(), pki.server.key.read_text()
    pki.ca.issue("mail.test", password=b"open sesame", file="locked")
    lines = certificate.splitlines(keepends=True)
    texts = {
        "empty": "",
        "words": "neither certificate nor key\n",
        "cut.crt": certificate[: len(certificate) // 2],
        "cut.key": key[: len(key) // 2],
        "spoilt.crt": "".join([lines[0], "AAAA\n", *lines[1:]]),
        "not-base64.crt": "".join([lines[0], "!!!!\n", lines[-1]]),
        "chain-cut.crt": certificate + "".join(lines[:-3]),
        "chain-words.crt": certificate + "words behind it\n",
        "cut.crl": "".join(pki.crl.read_text().splitlines(keepends=True)[:-3]),
        "small-dh.pem": _DH_TOO_SMALL,
        "passwords": "wrong\nopen sesame\n",
        "wrong-passwords": "wrong\nopen sesame \n",
        "long-passwords": "x" * 4095 + "\n",
        "too-long-passwords": "x" * 4096 + "\n",
        "47.key": "k" * 47,
        "48.key": "k" * 48,
        "81.key": "k" * 81,
    }
    for name, text in texts.items():
        (directory / name).write_text(text)


def pair(certificate: str, key: str) -> str:
    return f"ssl_certificate {certificate}; ssl_certificate_key {key};"


GOOD = pair("tls/server.crt", "tls/server.key")
LOCKED = pair("tls/locked.crt", "tls/locked.key")

_CERTIFICATES = [
    "nowhere.crt", "tls", "tls/empty", "tls/words", "tls/server.key", "tls/cut.crt", "tls/spoilt.crt",
    "tls/not-base64.crt", "tls/chain-cut.crt", "tls/chain-words.crt", "tls/ca.crl", "''",
    "tls/client-deep.crt", "tls/server-rsa.crt",
]  # fmt: skip
_KEYS = [
    "nowhere.key", "tls", "tls/empty", "tls/words", "tls/server.crt", "tls/cut.key", "tls/client.key",
    "tls/server-rsa.key", "tls/locked.key", "''", "engine:", "engine:foo", "engine::bar",
    "engine:dynamic:bar", "engine:dynamic:", "ENGINE:foo:bar",
]  # fmt: skip

CERTIFICATES = Table(
    tls=[
        "", GOOD, "ssl_certificate tls/server.crt;", "ssl_certificate_key tls/server.key;",
        "ssl_certificate nowhere.crt;", "ssl_certificate_key nowhere.key;",
        f"{GOOD} ssl_certificate tls/server-rsa.crt;", f"{GOOD} ssl_certificate_key nowhere.key;",
        f"{GOOD} {pair('tls/server-rsa.crt', 'tls/server-rsa.key')}",
        f"{GOOD} {pair('tls/server-rsa.crt', 'tls/server.key')}", f"{GOOD} {pair('tls/words', 'tls/words')}",
        *(pair(certificate, "tls/server.key") for certificate in _CERTIFICATES),
        *(pair("tls/server.crt", key) for key in _KEYS),
        LOCKED,
        *(f"{LOCKED} ssl_password_file tls/{name};"
          for name in ("passwords", "wrong-passwords", "empty")),
        f"{GOOD} ssl_password_file tls/passwords;", f"{GOOD} starttls on;", "starttls on;",
    ],
    mail=[
        "ssl_password_file nowhere;", "ssl_password_file tls;", "ssl_password_file tls/passwords;",
        "ssl_password_file tls/long-passwords;", "ssl_password_file tls/too-long-passwords;",
        "ssl_password_file tls/empty; ssl_password_file tls/empty;",
        "\n\nssl_password_file nowhere;", "ssl_certificate nowhere;", "ssl_certificate_key nowhere;",
        *(f"{name} a; {name} a;"
          for name in ("ssl_certificate", "ssl_certificate_key", "ssl_session_ticket_key", "ssl_dhparam",
                       "ssl_crl", "ssl_client_certificate", "ssl_trusted_certificate", "ssl_ecdh_curve")),
        *(f"{name};"
          for name in ("ssl_certificate", "ssl_certificate_key", "ssl_password_file", "ssl_conf_command")),
        "ssl_conf_command a;", "ssl_conf_command a b; ssl_conf_command a b;", "ssl_conf_command a b c;",
    ],
    server=["starttls on;", "starttls only; ssl_certificate tls/server.crt;", f"\nstarttls on;\n{GOOD}",
            "starttls on; ssl_certificate nowhere; ssl_certificate_key nowhere;",
            "ssl_certificate nowhere; ssl_certificate_key nowhere; ssl_dhparam nowhere; ssl_crl nowhere;",
            "ssl_password_file nowhere;"],
    servers=[
        "ssl_certificate tls/server.crt;\nserver {\nlisten 127.0.0.1:143 ssl; }",
        "starttls on;\nserver { listen 127.0.0.1:143; }", "server { starttls on; listen 127.0.0.1:143; }",
        "server {\nlisten 127.0.0.1:143 ssl;\nlisten 127.0.0.1:993 ssl; listen 127.0.0.1:144;\n}",
        f"{GOOD}\nserver {{ listen 127.0.0.1:143 ssl; ssl_certificate nowhere; }}",
        f"ssl_certificate nowhere;\nserver {{ listen 127.0.0.1:143; }}\nserver {{ listen 127.0.0.1:993 ssl; {GOOD} }}",
        f"{GOOD}\nserver {{ listen 127.0.0.1:143 ssl; ssl_session_cache shared:S:1m; }}\n"
        "server { listen 127.0.0.1:993 ssl; ssl_session_cache shared:S:2m; }",
        f"{GOOD}\nserver {{ listen 127.0.0.1:143 ssl; ssl_session_cache builtin shared:S:1m; }}\n"
        "server { listen 127.0.0.1:993 ssl; ssl_session_cache shared:S:1m; }",
        f"{GOOD} ssl_session_ticket_key nowhere;\n\nserver {{ listen 127.0.0.1:143 ssl; }}\n\n",
        "ssl_verify_client on;\nserver { listen 127.0.0.1:143; }",
    ],
)  # fmt: skip

# The directive that nginx removed in 1.25.1; {0} and {1} stand on lines of their own.
_SSL_IN_A_SERVER = [
    "ssl on;", "ssl off;", "ssl ON;", "ssl;", "ssl on off;", "ssl yes;", "ssl on;\nssl on;", "ssl on;\nssl off;",
    f"ssl on;\n{GOOD}", f"ssl off;\n{GOOD}", "ssl on; ssl_certificate tls/server.crt;",
    *(f"{first};\n{second};\n{GOOD}"
      for pair_ in [("ssl on", "starttls on"), ("ssl on", "starttls only"), ("ssl on", "starttls off"),
                    ("ssl off", "starttls on"), ("ssl off", "starttls off")]
      for first, second in (pair_, pair_[::-1])),
    "ssl on;\nstarttls off;", "starttls off;\nssl on;", "ssl off;\nstarttls on;", "starttls on;\nssl off;",
]  # fmt: skip
_A_SERVER = "server { listen 127.0.0.1:143; "
SSL = Table(
    main=["ssl on;"],
    server=_SSL_IN_A_SERVER,
    tls=["ssl on;", "ssl off;", f"ssl off; {GOOD}", f"ssl on; {GOOD} starttls on;"],
    servers=[
        f"ssl on;\n{_A_SERVER} }}", f"ssl on;\n{GOOD}\n{_A_SERVER} }}", f"ssl on;\n{_A_SERVER} ssl off; }}",
        f"ssl on;\n{_A_SERVER}\nstarttls on; }}", f"ssl on;\n{_A_SERVER}\nstarttls on; {GOOD} }}",
        f"starttls on;\n{_A_SERVER}\nssl on; }}", f"starttls on;\n{_A_SERVER}\nssl off; {GOOD} }}",
        f"starttls on;\n{_A_SERVER}\nssl off; }}", f"starttls on;\nssl on;\n{_A_SERVER} }}",
        f"ssl on;\nstarttls off;\n{_A_SERVER} }}", f"starttls off;\nssl on;\n{_A_SERVER} }}",
        f"ssl on; {GOOD}\n{_A_SERVER} }}\nserver {{ listen 127.0.0.1:144; ssl off; starttls on; }}",
        f"ssl on;\n{_A_SERVER} {GOOD} }}\nserver {{ listen 127.0.0.1:993 ssl; }}",
    ],
)  # fmt: skip

_CURVES = [
    "foo", "auto", "AUTO", "prime256v1", "P-256", "x25519", "X25519:prime256v1", "prime256v1:foo", "''", ":",
    "prime256v1:", "prime256v1 x25519", "secp112r1", "prime256v1:prime256v1",
]  # fmt: skip
_CIPHERS = [
    "FOO",
    "''",
    "HIGH:FOO",
    "!ALL",
    "TLS_AES_128_GCM_SHA256",
    "HIGH:!aNULL",
    "eNULL",
    "@SECLEVEL=9",
    "DEFAULT",
]
_COMMANDS = [
    "Foo bar", "Options KTLS", "Options -KTLS", "Options Foo", "Options KTLS,Foo", "Options ''", "Protocol foo",
    "MinProtocol TLSv1.3", "MinProtocol TLSv1.9", "MaxProtocol SSLv2", "Ciphersuites TLS_AES_128_GCM_SHA256",
    "Ciphersuites foo", "Ciphersuites ''", "Curves foo", "Groups X25519", "CipherString FOO", "DHParameters nowhere",
    "DHParameters tls/words", "Certificate nowhere.crt", "Certificate tls/server.crt", "PrivateKey nowhere.key",
    "VerifyCAFile nowhere", "VerifyCAPath nowhere", "VerifyMode Require", "VerifyMode foo", "ChainCAFile nowhere",
    "ClientCAFile nowhere", "ServerInfoFile nowhere", "NumTickets 0", "NumTickets x", "RecordPadding 99999",
    "RecordPadding 512", "SignatureAlgorithms foo", "SignatureAlgorithms ECDSA+SHA256", "options ktls",
    "-ciphersuites TLS_AES_128_GCM_SHA256", "no_ticket on", "'' ''", "Foo ''",
]  # fmt: skip
_CAS = ["nowhere", "tls", "tls/empty", "tls/words", "tls/cut.crt", "tls/server.key", "tls/ca.pem", "''"]

SETTINGS = Table(
    secure=[
        *(f"ssl_ecdh_curve {value};" for value in _CURVES),
        *(f"ssl_ciphers {value};" for value in _CIPHERS),
        *(f"ssl_conf_command {value};" for value in _COMMANDS),
        "ssl_conf_command Options KTLS;\nssl_conf_command Foo bar;",
        *(f"ssl_dhparam {value};"
          for value in ("nowhere", "tls", "tls/words", "tls/server.crt", "tls/empty", "tls/small-dh.pem", "''")),
        *(f"ssl_verify_client {mode};" for mode in ("on", "optional", "optional_no_ca")),
        *(f"ssl_verify_client on; ssl_client_certificate {value};" for value in _CAS),
        *(f"ssl_verify_client on; ssl_trusted_certificate {value};" for value in ("nowhere", "tls/ca.pem")),
        *(f"ssl_verify_client on; ssl_client_certificate tls/ca.pem; ssl_trusted_certificate {value};"
          for value in ("nowhere", "tls/words", "tls/other-ca.pem")),
        *(f"ssl_verify_client on; ssl_client_certificate tls/ca.pem; ssl_crl {value};"
          for value in ("nowhere", "tls", "tls/empty", "tls/words", "tls/cut.crl", "tls/ca.pem", "tls/ca.crl", "''")),
        "ssl_client_certificate nowhere; ssl_trusted_certificate nowhere; ssl_crl nowhere;",
        "ssl_verify_client optional_no_ca; ssl_client_certificate nowhere;",
        "ssl_verify_client optional_no_ca; ssl_crl nowhere;",
        "ssl_verify_client on; ssl_client_certificate tls/ca.pem; ssl_verify_depth 99999999999;",
        *(f"ssl_session_ticket_key tls/{name};" for name in ("48.key", "47.key", "81.key", "empty", "nowhere", ".")),
        "ssl_session_ticket_key tls/48.key;\nssl_session_ticket_key tls/47.key;",
        *(f"ssl_session_cache {value};"
          for value in ("off", "none", "builtin", "builtin:0", "builtin:100", "builtin:99999999999", "builtin:",
                        "shared:S:32k", "shared:S:31k", "builtin:10 shared:S:1m", "shared:S:1m builtin", "off none",
                        "shared:S:1m shared:T:1m")),
        "ssl_session_timeout 0;", "ssl_session_tickets off;", "ssl_prefer_server_ciphers on;",
        *(f"ssl_protocols {value};" for value in ("SSLv2", "SSLv3", "TLSv1", "TLSv1.3", "tlsv1.2", "SSLv2 TLSv1.3")),
    ],
)  # fmt: skip

SECTIONS = {"certificates": CERTIFICATES, "TLS": SETTINGS, "ssl": SSL}
