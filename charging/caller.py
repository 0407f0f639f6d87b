"""The caller: whose key made a call, as the proxy knows it. Pure.

The proxy sets these fields and no client of it can. LiteLLM's own reports go by them.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final

from schemas.callback import Metadata

_HASH: Final = re.compile(
    r"(?:hashed-jwt-)?[0-9a-f]{64}"
    r"|litellm_proxy_master_key|litellm-internal-health-check|litellm-internal-jobs|litellm-cli"
)
"""What LiteLLM writes for a key: its SHA-256, or a name for one of its own keys."""


def caller_of(
    metadata: Metadata, clean: Callable[[object], str | None]
) -> tuple[str | None, str | None, str | None, str | None, str | None, str | None]:
    """Return the fields of the caller in their order, each fit for the tables.

    `clean` makes a text so; None where it says nothing. A tuple, as most calls take it apart.
    """
    team, alias = metadata.user_api_key_team_id, metadata.user_api_key_team_alias
    key, user = metadata.user_api_key_alias, metadata.user_api_key_user_id
    organization = metadata.user_api_key_org_id
    return (
        clean(team) if team and not team.isspace() else None,
        clean(alias) if alias and not alias.isspace() else None,
        clean(key) if key and not key.isspace() else None,
        key_hash(metadata.user_api_key_hash),
        clean(user) if user and not user.isspace() else None,
        clean(organization) if organization and not organization.isspace() else None,
    )


def key_hash(sent: str | None) -> str | None:
    """Return the hash of a key as LiteLLM has it; a key itself never comes out of here.

    A proxy with its own login may send the key where its hash belongs. Then this is its SHA-256,
    which is what LiteLLM makes of a key.
    """
    if sent is None or _HASH.fullmatch(sent):
        return sent
    if not sent or sent.isspace():
        return None
    return hashlib.sha256(sent.encode("utf-8", "surrogatepass")).hexdigest()
