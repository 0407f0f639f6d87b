"""Whether what a client says about its call is signed, and by whom. Pure.

A signature never changes what a call costs, nor whether it is charged: it says whether the names on
the receipt can be believed.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from charging.spend import Spend
from schemas.attribution import text_of
from schemas.signature import Attribution, signature_of, signed_bytes

SIGNED: Final = "attribution_signed"
"""Mark: the names of run and agents are signed by a key of the operator's."""
FORGED: Final = "attribution_forged"
"""Mark: there is a signature, and it is none of these names."""
UNKNOWN_KEY: Final = "attribution_unknown_key"
"""Mark: there is a signature by a key that is not known."""
NOT_BELIEVED: Final = "attribution_not_believed"
"""Mark: nobody has signed the account or the run that the client names, so neither says who pays.
Only where the operator asks for signatures."""
ACCOUNT_UNSIGNED: Final = "account_unsigned"
"""Mark: the names are signed, and the account that the client names is not."""
VERDICTS: Final[Mapping[str, str]] = {
    SIGNED: "signed", FORGED: "forged", UNKNOWN_KEY: "unknown_key",
}  # fmt: skip
"""What a mark says of a signature."""


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """The secrets by the ids of their keys; without any, no signature is looked at.

    `required`: an account that only the client names counts where it is signed.
    """

    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    required: bool = False


NO_SIGNATURES: Final = SignatureRules()


class Verdict(NamedTuple):
    """The mark of a signature, None without one, and the account that it covers."""

    mark: str | None = None
    account: str | None = None


_UNSIGNED: Final = Verdict()
_FORGED: Final = Verdict(FORGED)
_UNKNOWN_KEY: Final = Verdict(UNKNOWN_KEY)


def verdict_of(spend: Spend, accounts: Iterable[object], rules: SignatureRules) -> Verdict:
    """Judge the signature of a call.

    `accounts` are those that its client names, as they were sent; the signature covers one of them,
    or none.
    """
    if spend.signature is None or not rules.secrets:
        return _UNSIGNED
    signature = signature_of(spend.signature)
    said = spend.names.get
    run = said("run_id")
    if signature is None or run is None:
        return _FORGED
    secret = rules.secrets.get(signature.key_id)
    if secret is None:
        return _UNKNOWN_KEY
    for account in dict.fromkeys((*map(text_of, accounts), None)):
        covered = Attribution(
            run, spend.attempt, said("graph_id"), said("sub_agent_id"), said("parent_sub_agent_id"),
            said("tool_call_id"), account,
        )  # fmt: skip
        made = hmac.digest(secret, signed_bytes(signature.key_id, covered), "sha256").hex()
        if hmac.compare_digest(made, signature.digest):
            return Verdict(SIGNED, account)
    return _FORGED
