"""``user``: who the workers are."""

import grp
import os
import pwd
from typing import Any

from .errors import ConfigError
from .statement import Environment, Statement


def parse(statement: Statement, previous: Any) -> tuple[str, str]:
    """``(user, group)``; the group's name defaults to the user's. Both must exist when we are root."""
    user = statement.words[1]
    group = statement.words[2] if len(statement.words) > 2 else user
    if os.geteuid() != 0:
        statement.warn(
            'the "user" directive makes sense only if the master process runs with super-user '
            "privileges, ignored"
        )
        return user, group
    try:
        resolve_user(user, group)
    except ConfigError as error:
        raise statement.error(str(error)) from None
    return user, group


def default(environment: Environment) -> tuple[str, str]:
    """``nobody``, with the group of that name or Debian's ``nogroup``."""
    user = environment.defaults.user
    try:
        grp.getgrnam(user)
    except KeyError:
        return user, "nogroup"
    return user, user


def resolve_user(user: str, group: str) -> tuple[int, int]:
    """``(uid, gid)``. Raises ConfigError with nginx's ``getpwnam("X") failed``."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise ConfigError(f'getpwnam("{user}") failed') from None
    try:
        return uid, grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise ConfigError(f'getgrnam("{group}") failed') from None
