"""The auth_http exchange carried by aiohttp: for ``https://``, and elsewhere where the configuration says so.

The engine makes the request's bytes and judges the answer's bytes, on this path as on its own. What stands
here only carries them: exactly, or not at all.
"""
