"""Servers, clients and proxies that the tests talk to; one noun per module."""
