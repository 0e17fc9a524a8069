"""An auth server with Flask: ``flask --app flask_auth run --port 8000``."""

import hmac
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, request

USERS = {b"user": b"pass"}
BACKENDS = {"imap": "10143", "pop3": "10110", "smtp": "10025"}

app = Flask(__name__)


def credential(name: str) -> bytes:
    """The bytes that the client sent: control characters, spaces and "%" arrive as %HH."""
    return unquote_to_bytes(request.headers[name].encode("latin-1"))


def right() -> bool:
    """Whether this is a login by password, and the password is the user's."""
    password = USERS.get(credential("Auth-User"))
    if request.headers["Auth-Method"] != "plain" or password is None:
        return False
    return hmac.compare_digest(password, credential("Auth-Pass"))


@app.get("/auth")
def auth() -> Response:
    if not right():
        return Response(headers={"Auth-Status": "Invalid login or password", "Auth-Wait": "1"})
    port = BACKENDS[request.headers["Auth-Protocol"]]
    return Response(headers={"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": port})
