"""The TLS context that a server uses towards its backends (``proxy_ssl_*``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastmail._speedups import TLSContext

from . import validity
from .errors import ConfigError, located
from .tls import encoded, messages, place_of

if TYPE_CHECKING:
    from .statement import Environment, Scope


def load(server: Scope, values: Mapping[str, Any], environment: Environment) -> TLSContext | None:
    """None if neither ``proxy_ssl`` nor ``proxy_ssl_starttls`` is on. Raises ConfigError.

    ``values`` has the server's directives and those it inherits.
    """
    if not values["proxy_ssl"] and not values["proxy_ssl_starttls"]:
        return None
    if values["proxy_ssl"] and values["proxy_ssl_starttls"]:
        text = '"proxy_ssl" and "proxy_ssl_starttls" cannot both be on'
        raise ConfigError(located(text, place_of("proxy_ssl_starttls", server)))
    certificate, key = values["proxy_ssl_certificate"], values["proxy_ssl_certificate_key"]
    if certificate and not key:
        raise ConfigError(f'no "proxy_ssl_certificate_key" is defined for certificate "{certificate}"')
    verify, trusted = values["proxy_ssl_verify"], values["proxy_ssl_trusted_certificate"]
    if verify and not trusted:
        raise ConfigError("no proxy_ssl_trusted_certificate for proxy_ssl_verify")

    def file(name: str) -> bytes:
        return encoded(environment.conf_path(name))

    with messages():
        context = TLSContext()
        context.protocols(values["proxy_ssl_protocols"])
        context.ciphers(encoded(values["proxy_ssl_ciphers"]))
        if certificate:
            passwords = values["proxy_ssl_password_file"]
            name = encoded(certificate) if certificate.startswith("data:") else file(certificate)
            context.certificate(
                name,
                encoded(key) if key.startswith(("data:", "engine:", "store:")) else file(key),
                None if passwords is None else list(passwords),
            )
            validity.warn(environment.messages, [name])
        if verify:
            context.verify_server(min(values["proxy_ssl_verify_depth"], 2**31 - 1))
            context.trusted_certificate(file(trusted))
            if values["proxy_ssl_crl"]:
                context.crl(file(values["proxy_ssl_crl"]))
        context.conf_commands(
            [(encoded(name), encoded(value)) for name, value in values["proxy_ssl_conf_command"]],
            lambda name: file(name.decode("utf-8", "surrogateescape")),
        )
    return context
