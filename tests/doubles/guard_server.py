"""What stands in for the spend guard, before a proxy that asks it."""

import secrets
import uuid
from threading import Event
from typing import Any, Final

from tests.doubles.json_server import Asked, JsonServer, Said

TOKEN: Final = secrets.token_urlsafe(24)
HOLDS: Final = "/v1/holds"
PREPAID: Final = {"available": 5_000_000, "kind": "prepaid", "plenty": False}


class GuardServer(JsonServer):
    """Makes a hold for every call, unless it is told otherwise.

    `refused`: accounts without credit. `plenty`: accounts that have more than enough. `made`: the
    last hold of each account.
    `hangs`: it answers nothing until `goes_on` is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.plenty: set[str] = set()
        self.made: dict[str, str] = {}
        self.hangs = False
        self.goes_on = Event()

    def holds_asked(self, account: str) -> list[dict[str, Any]]:
        """What was asked for an account."""
        asked = [one.body for one in self.asked if one.path == HOLDS]
        return [body for body in asked if body["account"] == account]

    def calls_asked(self) -> set[str]:
        """The calls that were asked about, once or again, by their nonces."""
        return {one.body["nonce"] for one in self.asked if one.path == HOLDS}

    def released(self) -> list[str]:
        """The holds that were released."""
        paths = [one.path.split("/") for one in self.asked]
        return [parts[3] for parts in paths if parts[-1] == "release"]

    def answer(self, asked: Asked) -> Said:
        """Answer as the guard does."""
        if self.hangs:
            self.goes_on.wait()
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Said(401, {"error": {"message": "wrong token"}})
        if asked.path != HOLDS:
            return Said(200, {})
        account = asked.body["account"]
        if account in self.refused:
            error = {"message": "no credit", "type": "insufficient_credit", "account": account}
            return Said(402, {"error": {**error, "required": 123_000, "available": 4_200}})
        plenty = account in self.plenty
        hold = None if plenty else str(uuid.uuid4())
        if hold:
            self.made[account] = hold
        return Said(
            200, {"hold": hold, "account": account, "amount": 123_000, **PREPAID, "plenty": plenty}
        )
