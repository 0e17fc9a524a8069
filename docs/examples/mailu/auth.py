"""The auth server: tells where the mail for a recipient goes, and who is not let in.

Run it with ``flask --app auth run --port 8000``. SMTP_PORT is where Postfix listens, BLOCKED a list of client
addresses, separated by commas.
"""

import os
import re

from flask import Flask, Response, request

DOMAINS = {"example.com"}
SMTP_SERVER = "127.0.0.1"
SMTP_PORT = os.environ.get("SMTP_PORT", "10026")
BLOCKED = set(os.environ.get("BLOCKED", "").split(","))

app = Flask(__name__)


def refuse(text: str, code: str) -> Response:
    """A reply to RCPT: the code, then the text."""
    return Response(headers={"Auth-Status": text, "Auth-Error-Code": code, "Auth-Wait": "0"})


@app.get("/auth/email")
def email() -> Response:
    """Judge one recipient (Auth-Method: none)."""
    app.logger.warning(
        "%s port %s: %s %s",
        request.headers["Client-IP"],
        request.headers.get("Client-Port"),
        request.headers["Auth-SMTP-From"],
        request.headers["Auth-SMTP-To"],
    )
    if request.headers["Client-IP"] in BLOCKED:
        return refuse("Go away", "554 5.7.1")
    recipient = re.match(r"RCPT TO:\s*<[^<>@]+@([^<>@]+)>", request.headers["Auth-SMTP-To"], re.IGNORECASE)
    if recipient is None or recipient[1].lower() not in DOMAINS:
        return refuse("Relay access denied", "554 5.7.1")
    return Response(headers={"Auth-Status": "OK", "Auth-Server": SMTP_SERVER, "Auth-Port": SMTP_PORT})
