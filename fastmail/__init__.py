"""A mail login proxy for IMAP, POP3 and SMTP that takes the place of nginx's mail module."""

__version__ = "0.1.0"
