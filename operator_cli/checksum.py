"""The checksum of a statement: whoever has the same receipts gets the same. Pure.

SHA-256 over lines of JSON in ASCII, each with a line feed behind it: first what the statement is
of, then a line for each receipt, in the order of start and id.
"""

import hashlib
import json
from typing import Final

from runtime.rows import Row, csv_cell

FORM: Final = "billing statement v1"
COLUMNS: Final = ("receipt", "started", "cost USD", "charged USD", "credits")
"""What of a receipt is in it, each as the text that `--csv` prints."""


class Checksum:
    """Of the statement of an account and a month; receipts are added one by one."""

    def __init__(self, account: str, month: str) -> None:
        self._digest = hashlib.sha256()
        self._line([FORM, account, month])

    def add(self, receipt: Row) -> None:
        """Add the next receipt."""
        self._line([csv_cell(receipt[name]) for name in COLUMNS])

    def _line(self, values: list[str]) -> None:
        self._digest.update(json.dumps(values, separators=(",", ":")).encode() + b"\n")

    def __str__(self) -> str:
        """Return it as `sha256:` and 64 hexadecimal digits."""
        return f"sha256:{self._digest.hexdigest()}"
