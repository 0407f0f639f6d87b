"""The plain consumer with money as it was sent: exact decimals, by the standard library's reader.

`python -m tests.bench.alternatives.exact_consumer`
"""

import json
from decimal import Decimal
from typing import Any

from tests.bench.alternatives.plain_consumer import copied, run


def decode(value: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read JSON; numbers with a point keep every digit."""
    return json.loads(value, parse_float=Decimal)


if __name__ == "__main__":
    run(decode, copied)
