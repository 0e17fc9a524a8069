"""The nginx configuration language: ``load()`` reads a file into a Configuration."""

from .auth_http import AuthHttp
from .configuration import Configuration, ServerConfiguration, load
from .defaults import FASTMAIL, NGINX, Defaults
from .error_log import ErrorLog
from .errors import ConfigError
from .listen import Listen
from .resolver import ResolverServers
from .statement import Ignored
from .user import resolve_user

__all__ = [
    "FASTMAIL",
    "NGINX",
    "AuthHttp",
    "ConfigError",
    "Configuration",
    "Defaults",
    "ErrorLog",
    "Ignored",
    "Listen",
    "ResolverServers",
    "ServerConfiguration",
    "load",
    "resolve_user",
]
