"""Names of models: which of a bill's and which of LiteLLM's mean the same model. Pure.

Providers write `Claude Sonnet 4.5`, LiteLLM `bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
Both lose what stands before the model (a path, a region, a maker), its version and its date, and
what is no letter and no digit. Models that differ in their date alone are one model then. Where the
rule does not fit, a person names the pair.
"""

import re
from collections.abc import Mapping
from typing import Final

_MAKER: Final = re.compile(r"^(?:[a-z]+\.)+(?=[a-z])")
"""`us.anthropic.`; not `gemini-2.`, and not `gpt-4.`."""
_VERSION: Final = re.compile(r"(?:-v\d+)?(?::\d+)*$")
_DATE: Final = re.compile(r"[-@](?:20\d\d-?[01]\d-?[0-3]\d|default|latest)$")
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")


def model_of(name: str) -> str:
    """Return what names of one model have in common; the whole name where nothing is left."""
    text = name.strip().lower().rpartition("/")[2]
    text = _MAKER.sub("", text)
    text = _VERSION.sub("", text)
    text = _DATE.sub("", text)
    return _NO_NAME.sub("", text) or name.strip().lower()


class Names:
    """Which names mean one model: by the rule, and before it by `pairs`, bill's to LiteLLM's."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = {bill.strip().lower(): ours for bill, ours in pairs.items()}

    def of_bill(self, name: str) -> str:
        """Return the model that a name on the bill means."""
        return model_of(self._pairs.get(name.strip().lower(), name))

    def of_ours(self, name: str | None) -> str:
        """Return the model that a name of LiteLLM means; "" for none."""
        return model_of(name) if name else ""
