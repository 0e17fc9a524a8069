"""TLS towards the auth server (``auth_http https://``, ``auth_http_ssl_*``), made while the configuration is
read: workers may not be able to read the files."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastmail.logs import describe

from . import validity
from .errors import ConfigError, located
from .tls import encoded, messages, place_of

if TYPE_CHECKING:
    from .statement import Environment, Scope


_BUNDLES = (
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where distributions keep the CAs that they trust."""


def trust(cafile: str | None = None) -> ssl.SSLContext:
    """TLS that verifies the auth server against ``cafile``, or the system's trust store.

    OpenSSL's SSL_CERT_FILE and SSL_CERT_DIR apply. Raises OSError if ``cafile`` cannot be used.
    """
    # Not create_default_context(): from Python 3.13 on it refuses CAs that nginx trusts.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    cafile = cafile or _distribution_bundle()
    if cafile is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile)
    return context


def _distribution_bundle() -> str | None:
    """For an interpreter that was built elsewhere, and whose OpenSSL finds no CAs here."""
    paths = ssl.get_default_verify_paths()
    if {paths.openssl_cafile_env, paths.openssl_capath_env} & os.environ.keys():
        return None
    if paths.cafile or (paths.capath and any(map(_HASHED.fullmatch, os.listdir(paths.capath)))):
        return None
    return next(filter(os.path.exists, _BUNDLES), None)


_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # how OpenSSL finds a CA's file in a directory


def load(server: Scope, values: Mapping[str, Any], environment: Environment) -> ssl.SSLContext | None:
    """None unless the server's ``auth_http`` is ``https://``. Raises ConfigError."""
    if values["auth_http"].scheme != "https":
        return None
    trusted, certificate, key = (
        values[f"auth_http_ssl_{name}"] for name in ("trusted_certificate", "certificate", "certificate_key")
    )

    def attempt(what: str, name: str, call: Callable[[str], Any], extra: str = "") -> Any:
        path = environment.conf_path(name)
        try:
            return call(path)
        except (OSError, ValueError) as error:
            text = f'cannot load {what} "{path}"{extra}: {_reason(error)}'
            raise ConfigError(located(text, place_of(f"auth_http_ssl_{_DIRECTIVE[what]}", server))) from None

    context: ssl.SSLContext = attempt("trusted certificates", trusted, trust) if trusted else trust()
    if certificate:
        if not key:
            text = f'no "auth_http_ssl_certificate_key" is defined for certificate "{certificate}"'
            raise ConfigError(located(text, place_of("auth_http_ssl_certificate", server)))
        own = environment.conf_path(key)

        def load_pair(path: str) -> None:
            context.load_cert_chain(path, own, _nobody_to_ask)

        attempt("certificate", certificate, load_pair, f' with key "{own}"')
        with messages():
            validity.warn(environment.messages, [encoded(environment.conf_path(certificate))])
    if not values["auth_http_ssl_verify"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_DIRECTIVE = {"trusted certificates": "trusted_certificate", "certificate": "certificate"}


def _nobody_to_ask() -> str:
    raise ValueError("its key is encrypted, and there is no password file for it")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # Python has no name for what OpenSSL says of files that are not PEM, or of another kind.
        return error.reason.replace("_", " ").lower() if error.reason else "not found in PEM format"
    return describe(error) if isinstance(error, OSError) else str(error)
