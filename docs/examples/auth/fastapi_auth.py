"""An auth server with FastAPI: ``uvicorn --port 8000 fastapi_auth:app``."""

import hmac
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request, Response

USERS = {b"user": b"pass"}
BACKENDS = {"imap": "10143", "pop3": "10110", "smtp": "10025"}

app = FastAPI()


def credential(request: Request, name: str) -> bytes:
    """The bytes that the client sent: control characters, spaces and "%" arrive as %HH."""
    return unquote_to_bytes(request.headers[name].encode("latin-1"))


def right(request: Request) -> bool:
    """Whether this is a login by password, and the password is the user's."""
    password = USERS.get(credential(request, "Auth-User"))
    if request.headers["Auth-Method"] != "plain" or password is None:
        return False
    return hmac.compare_digest(password, credential(request, "Auth-Pass"))


@app.get("/auth")
async def auth(request: Request) -> Response:
    if not right(request):
        return Response(headers={"Auth-Status": "Invalid login or password", "Auth-Wait": "1"})
    port = BACKENDS[request.headers["Auth-Protocol"]]
    return Response(headers={"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": port})
