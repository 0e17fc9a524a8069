"""``fastmail migrate``: what of an nginx.conf is served here, what not, what differs, and how to switch."""

from fastmail.migrate.command import main

__all__ = ["main"]
