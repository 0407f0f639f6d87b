"""The address of an HTTP server, as a setting holds it."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator


def _address(value: str) -> str:
    if not value:
        return value
    if not value.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    if not {"@", "?", "#"}.isdisjoint(value) or not value.isprintable() or " " in value:
        # It is shown where the server cannot be reached.
        raise ValueError("must hold no password, no query and no space")
    return value.rstrip("/")


HttpAddress: TypeAlias = Annotated[str, AfterValidator(_address)]
"""`https://host:port/path` without a slash at its end, or empty; may be shown in messages."""
