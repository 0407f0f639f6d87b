"""Loaded by a LiteLLM proxy: asks the spend guard, before each call, whether it can be paid for.

It stands beside the proxy's config.yaml, which names it as `spend_guard.guard` among its
`callbacks`, and imports only what LiteLLM ships. docs/litellm.md tells of its settings.

A client never sees a fault of it: it raises its own 402 and nothing else. Whose account a call is
charged to, and to which run, is decided by the rules of `charging/account.py` and
`schemas/identity.py`; a test holds them equal.
"""

import asyncio
import hashlib
import json
import logging
import os
import re
import ssl
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal, DecimalException
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import httpx
import litellm
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

_log: Final = logging.getLogger("spend_guard")

HOLD: Final = "billing_hold"
"""Under this name the hold of a call comes back with its callback."""
REFUSED: Final = "refused"
"""Stands in its place in the callback of a refused call, which is no failure of a provider."""
SPEND_LOGS: Final = "spend_logs_metadata"
NOT_ASKED_FOR: Final = frozenset(
    {
        *("aget_responses", "adelete_responses", "acancel_responses", "alist_input_items"),
        *("aretrieve_batch", "alist_batches", "acancel_batch", "moderation", "amoderation"),
        *("list_mcp_tools", "call_mcp_tool", "mcp_call"),
    }
)
"""Types of calls that make no model work, or whose price is not one of tokens."""
CHATS: Final = frozenset({"acompletion", "completion"})
"""Types of calls of which LiteLLM makes one for each name, where a request names several models
between commas."""
SEVERAL_MODELS: Final = (
    "This request names several models, and only one of the calls that it makes would be charged. "
    "Send one request for each model."
)
WITHOUT_ANSWER: Final = ("embedding", "rerank", "transcription")
"""Parts of the types of calls whose answers have no tokens to pay for."""

CREDITS_PER_USD: Final = 7
"""A credit is 10 ** -7 USD."""
COUNTED_BYTES: Final = 16_000
"""Longer prompts are estimated by their length: counting holds up every other call."""
BYTES_PER_TOKEN: Final = 3
MEDIA_TOKENS: Final = 2_000
"""What a picture, a sound or a file in a prompt counts as."""
MOST_TOKENS: Final = 1_000_000
"""No answer is longer, whatever a client asks for."""
MOST_ANSWERS: Final = 128
MOST_PRICE: Final = Decimal(999)
"""USD a token; the guard takes no higher one."""
PRICE_DIGITS: Final = Decimal("1e-18")
FALLBACKS: Final = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
"""Where a client names models that its call may fall back to."""
MOST_MODELS: Final = 50
"""Of one request; each is looked up."""
MOST_OF_MESSAGE: Final = 500
KEPT_ACCOUNTS: Final = 10_000
KEPT_HOLDS: Final = 10_000
KEPT_MODELS: Final = 1_000
PRICE_SECONDS: Final = 60.0
LINE_SECONDS: Final = 1.0
"""No more than one line of a kind in the log is written in this time."""
PLUGIN_FAULT: Final = "plugin_"
"""How the reasons begin that are faults of this file."""
LATE_SECONDS: Final = 5.0
"""How long a hold is waited for that comes too late for its call."""
MOST_RELEASES: Final = 100
"""How many releases may be under way; a hold beyond them is left to expire."""

# --- Settings ---------------------------------------------------------------------------------

ACCOUNT_FIELDS: Final = {
    "user_api_key_alias": "key_alias",
    "user_api_key_end_user_id": "end_user_id",
    "user_api_key_hash": "api_key",
    "user_api_key_org_id": "org_id",
    "user_api_key_project_id": "project_id",
    "user_api_key_team_id": "team_id",
    "user_api_key_user_id": "user_id",
}
"""What the proxy knows of the caller, by the names that callbacks have for it."""
SAID_BY_CLIENTS: Final = ("end_user", "x-litellm-end-user-id")
DEFAULT_ACCOUNT_FROM: Final = (*SAID_BY_CLIENTS, "user_api_key_team_id", "user_api_key_user_id")


@dataclass(frozen=True)
class Settings:
    """What the environment says; docs/litellm.md has the table."""

    url: str
    token: str
    timeout_seconds: float
    fail: str
    plenty_seconds: float
    breaker_failures: int
    breaker_seconds: float
    account_from: tuple[str, ...]
    unattributed: str
    free_models: tuple[str, ...]


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises `ValueError`, so that the proxy does not start, where one is missing or wrong.
    """

    def number(name: str, default: str, *, least: str = "0") -> Decimal:
        text = environment.get(name, "").strip() or default
        try:
            found = Decimal(text)
        except DecimalException:
            found = Decimal("nan")
        if not found.is_finite() or found < Decimal(least):
            raise ValueError(f"{name} is {text!r}: not a number of {least} or more")
        return found

    def needed(name: str) -> str:
        if text := environment.get(name, "").strip():
            return text
        raise ValueError(f"{name} is not set")

    fail = environment.get("SPEND_GUARD_FAIL", "").strip() or "auto"
    if fail not in {"auto", "open", "closed"}:
        raise ValueError(f"SPEND_GUARD_FAIL is {fail!r}: none of auto, open, closed")
    fields = _names(environment.get("BILLING_ACCOUNT_FROM", "")) or DEFAULT_ACCOUNT_FROM
    if unknown := set(fields) - {*SAID_BY_CLIENTS, *ACCOUNT_FIELDS}:
        raise ValueError(f"BILLING_ACCOUNT_FROM names {', '.join(sorted(unknown))}: unknown")
    return Settings(
        url=needed("SPEND_GUARD_URL").rstrip("/"),
        token=needed("SPEND_GUARD_TOKEN"),
        timeout_seconds=float(number("SPEND_GUARD_TIMEOUT_MS", "250", least="1")) / 1000,
        fail=fail,
        plenty_seconds=float(number("SPEND_GUARD_PLENTY_SECONDS", "1")),
        breaker_failures=int(number("SPEND_GUARD_BREAKER_FAILURES", "5", least="1")),
        breaker_seconds=float(number("SPEND_GUARD_BREAKER_SECONDS", "5")),
        account_from=fields,
        unattributed=identifier(
            environment.get("BILLING_UNATTRIBUTED_ACCOUNT", "") or "unattributed"
        ),
        free_models=_names(environment.get("BILLING_FREE_MODELS", "")),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


# --- Whose call it is: the rules of the receipts ----------------------------------------------

_JSON: Final = re.compile(r"""\s*(?:\{\s*["'}]|\[\s*[\["'{\]]|"\s*\{)""")
_SESSION: Final = re.compile(r"user_[0-9a-f]{64}_account_[0-9a-f-]*_session_[0-9a-f-]{36}")
_PLACEHOLDER: Final = "default_user_id"
_MOST_DIGITS: Final = 10**64
_EXACT: Final = 2**53
_MOST_ATTEMPTS: Final = 2_147_483_647
_MAX_TEXT_BYTES: Final = 1024
_PREFIX: Final = 200
_DIGEST: Final = re.compile(r"~sha256-[0-9a-f]{64}")


class Run(NamedTuple):
    """The run that a call names, None where it names none, and the attempt of it."""

    id: str | None
    attempt: int


def identifier(text: str) -> str:
    """Return the text as receipts have it: without what a database refuses, and not overlong."""
    text = text.replace("\x00", "\ufffd")
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    encoded = text.encode()
    if len(encoded) <= _MAX_TEXT_BYTES and not _DIGEST.fullmatch(text, _PREFIX):
        return text
    return f"{text[:_PREFIX]}~sha256-{hashlib.sha256(encoded).hexdigest()}"


def text_of(value: object) -> str | None:
    """Return a value as a text; None where it says nothing."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if -_MOST_DIGITS < value < _MOST_DIGITS else None
    if isinstance(value, float) and -_EXACT < value < _EXACT:
        return str(int(value)) if value.is_integer() else repr(value)
    return None


def object_of(value: object) -> dict[str, Any] | None:
    """Return a value as an object: itself, or the one that its JSON text holds; else None."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def run_attempt(end_user: object) -> Run | None:
    """Return run and attempt of an end user of the form `run/attempt`, else None."""
    run, _, attempt = end_user.rpartition("/") if isinstance(end_user, str) else ("", "", "")
    counted = attempt.isascii() and attempt.isdecimal() and len(attempt) <= 9  # noqa: PLR2004 - as in schemas/identity.py
    return Run(run, int(attempt)) if counted and run.strip() else None


class Payer(NamedTuple):
    """The account of a call; `of_run`: one that an executor has named for its run counts first."""

    account: str
    of_run: bool


def payer_of(named: Mapping[str, object], settings: Settings) -> Payer:
    """Return who pays for a call.

    Args:
        named: what may name it, by the names of BILLING_ACCOUNT_FROM.
        settings: which of them count, and in which order.
    """
    run_first = False
    for field in settings.account_from:
        value = text_of(named.get(field))
        if not value or value == _PLACEHOLDER or _JSON.match(value) or _SESSION.fullmatch(value):
            continue
        if not (field in SAID_BY_CLIENTS and run_attempt(value)):
            return Payer(identifier(value), run_first)
        run_first = True
    return Payer(settings.unattributed, of_run=True)


def run_of(spend_logs: object, end_user: object) -> Run:
    """Return the run of a call: the one that its metadata names, else its end user."""
    said = object_of(spend_logs) or {}
    attempt = _attempt_of(said.get("attempt"))
    run = text_of(said.get("run_id"))
    if run is None:
        if named := run_attempt(end_user):
            return Run(identifier(named.id or ""), named.attempt)
        return Run(None, attempt)
    return Run(identifier(run), attempt)


def _attempt_of(value: object) -> int:
    text = text_of(value)
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 10:  # noqa: PLR2004 - as in schemas/identity.py
        return 0
    return int(text) if int(text) <= _MOST_ATTEMPTS else 0


def named_by(caller: object, data: Mapping[str, Any]) -> dict[str, object]:
    """Return what may name the account of a request, by the names of BILLING_ACCOUNT_FROM."""
    request = data.get("proxy_server_request")
    headers = request.get("headers") if isinstance(request, dict) else None
    return {
        "end_user": getattr(caller, "end_user_id", None),
        "x-litellm-end-user-id": (headers or {}).get("x-litellm-end-user-id"),
        **{field: getattr(caller, name, None) for field, name in ACCOUNT_FIELDS.items()},
    }


# --- The metadata that comes back with the callback -------------------------------------------


def boxes_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metadata of a request, that of the proxy before that of the client."""
    return [
        box for name in ("litellm_metadata", "metadata") if isinstance(box := data.get(name), dict)
    ]


def _is_of_proxy(box: Mapping[str, Any]) -> bool:
    return "user_api_key_hash" in box or "user_api_key" in box


def spend_logs_of(data: Mapping[str, Any]) -> object:
    """Return what the client tells of its run."""
    found = [box[SPEND_LOGS] for box in boxes_of(data) if box.get(SPEND_LOGS)]
    return found[0] if found else None


def put_hold(data: Mapping[str, Any], hold: str | None) -> bool:
    """Write the hold of a request wherever its callback may be read from; None takes all away.

    The objects that hold the metadata are changed in place, as LiteLLM has references to them.
    What they say of the run is copied: LiteLLM may have taken it out of the key that all calls of
    a client share.

    Returns:
        Whether it comes back. It does not where the proxy passes the client's body on as it is:
        a provider would refuse what it does not know.
    """
    boxes = boxes_of(data)
    for box in boxes:
        _put(box, hold, makes=_is_of_proxy(box))
        requester = box.get("requester_metadata")
        if isinstance(requester, dict):
            _put(requester, hold, makes=False)
    return any(map(_is_of_proxy, boxes))


def _put(box: dict[str, Any], hold: str | None, *, makes: bool) -> None:
    found = box.get(SPEND_LOGS)
    said = object_of(found)
    if said is None:
        if hold is not None and makes:
            # The receipt is still marked as one whose run could not be read.
            box[SPEND_LOGS] = ({"run_id": [found]} if found else {}) | {HOLD: hold}
    elif hold is not None:
        box[SPEND_LOGS] = {**said, HOLD: hold}
    elif HOLD in said:
        box[SPEND_LOGS] = {name: value for name, value in said.items() if name != HOLD}


# --- What the call may cost -------------------------------------------------------------------


class Prices(NamedTuple):
    """USD per token, None where nobody says; the longest answer, 0 where that is not known."""

    input: Decimal | None
    output: Decimal | None
    longest: int

    @property
    def free(self) -> bool:
        """Whether whoever runs the proxy says that the model costs nothing."""
        said = [price for price in (self.input, self.output) if price is not None]
        return bool(said) and not any(said)


def models_of(data: Mapping[str, Any]) -> list[str]:
    """Return the models that a client names: its own, several between commas, its fallbacks."""
    own = text_of(data.get("model")) or ""
    found = [own] if "," not in own else [name.strip() for name in own.split(",")]
    settings = data.get("router_settings_override")
    sources = [data, settings] if isinstance(settings, dict) else [data]
    ahead = [source.get(name) for source in sources for name in FALLBACKS]
    while ahead:
        value = ahead.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            ahead += value
        elif isinstance(value, dict):
            # Either the parameters of a model, or its fallbacks by the name of a model.
            if isinstance(value.get("model"), str):
                ahead += [value.get(name) for name in ("model", *FALLBACKS)]
            else:
                ahead += value.values()
    return list(dict.fromkeys(found))


class Size(NamedTuple):
    """What is sent to a model: bytes of text, texts of it, and tokens that are no text."""

    characters: int
    texts: list[str]
    tokens: int


_PROMPT: Final = (
    *("messages", "prompt", "input", "system", "instructions", "tools", "functions"),
    *("contents", "systemInstruction", "query", "documents", "response_format", "text"),
)
_MEDIA: Final = ("url", "image_url", "file_data", "data")
"""Where requests have pictures, sounds and files. Words are there in parts of the type `text`
alone, such as Anthropic's documents of plain text."""


def size_of(data: Mapping[str, Any]) -> Size:
    """Return how much a request sends. No recursion: a client chooses how deep its request is."""
    length, texts, tokens = 0, list[str](), 0
    ahead = [data[name] for name in _PROMPT if data.get(name)]
    while ahead:
        value = ahead.pop()
        if isinstance(value, str):
            length += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
            texts.append(value)
        elif isinstance(value, dict):
            has_words = value.get("type") == "text"
            media = [name for name in _MEDIA if not has_words and _is_long(value.get(name))]
            tokens += MEDIA_TOKENS * len(media)
            ahead += value.keys()
            ahead += [part for name, part in value.items() if name not in media]
        elif isinstance(value, list):
            ahead += value
        elif value is not None:
            tokens += 1  # a token by its number, or a value in a tool's description
    return Size(length, texts, tokens)


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) > MEDIA_TOKENS * BYTES_PER_TOKEN


def prompt_tokens(size: Size) -> int:
    """Count the tokens of a prompt, or estimate them where counting would take long."""
    if size.characters <= COUNTED_BYTES:
        # Always this tokenizer: LiteLLM would download those of some models.
        counted = litellm.token_counter(model="gpt-3.5-turbo", text="\n".join(size.texts))
        return int(counted) + size.tokens
    return size.characters // BYTES_PER_TOKEN + size.tokens


def allowed_tokens(data: Mapping[str, Any], call_type: str, longest: int) -> int | None:
    """Return the most tokens that an answer may have; None where the request sets no limit.

    Args:
        data: the request.
        call_type: LiteLLM's name for it.
        longest: the longest answer of the model, 0 where that is not known.
    """
    if any(part in call_type for part in WITHOUT_ANSWER):
        return 0
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    asked = max(_count(data.get(name)) for name in names)
    return min(asked, longest or MOST_TOKENS) if asked else None


def answers_of(data: Mapping[str, Any]) -> int:
    """Return how many answers a request asks for."""
    return min(max(_count(data.get("n")), _count(data.get("best_of")), 1), MOST_ANSWERS)


def _count(value: object) -> int:
    text = text_of(value)
    if text is None or not (text.isascii() and text.isdecimal()):
        return 0
    return min(int(text[:12]), MOST_TOKENS)


def prices_of(model: str) -> Prices:
    """Return the dearest prices of the deployments of a model group, as this proxy has them."""
    from litellm.proxy.proxy_server import llm_router  # noqa: PLC0415 - set when the proxy is up

    deployments = (llm_router.get_model_list(model_name=model) if llm_router else None) or [{}]
    found = [_deployment_prices(model, one) for one in deployments]
    return Prices(
        max((one.input for one in found if one.input is not None), default=None),
        max((one.output for one in found if one.output is not None), default=None),
        max(one.longest for one in found),
    )


def _deployment_prices(model: str, deployment: Mapping[str, Any]) -> Prices:
    own, info = deployment.get("litellm_params") or {}, deployment.get("model_info") or {}
    name = info.get("base_model") or own.get("base_model") or own.get("model") or model
    if "*" in name:  # a deployment of every model of a provider
        name = model
    try:
        known: Mapping[str, Any] = litellm.get_model_info(name)
    except Exception:  # noqa: BLE001 - LiteLLM raises a plain Exception where it knows no price
        known = {}
    said = [
        _usd(own[key] if own.get(key) is not None else info.get(key))
        for key in ("input_cost_per_token", "output_cost_per_token")
    ]
    listed = [
        _dearest(known.get(key) for key in keys)
        for keys in (
            ("input_cost_per_token", "cache_creation_input_token_cost"),
            ("output_cost_per_token", "output_cost_per_reasoning_token"),
        )
    ]
    # LiteLLM lists every deployment that has no price with a price of zero.
    if not any(listed):
        listed = [None, None]
    each = [
        mine if mine is not None else of_list for mine, of_list in zip(said, listed, strict=True)
    ]
    longest = info.get("max_output_tokens") or known.get("max_output_tokens")
    return Prices(each[0], each[1], _count(longest))


def _usd(value: object) -> Decimal | None:
    try:
        found = None if value is None else Decimal(str(value))
    except DecimalException:
        return None
    return found if found is not None and found.is_finite() and found >= 0 else None


def _dearest(values: Iterable[object]) -> Decimal | None:
    return max((usd for value in values if (usd := _usd(value)) is not None), default=None)


# --- The guard --------------------------------------------------------------------------------


class Breaker:
    """After some failures in a row nobody is asked for some seconds, then one call tries.

    Args:
        failures: how many failures in a row open it.
        seconds: how long it stays open.
        clock: seconds that only grow.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._failures = 0
        self._closed_at = 0.0

    def may_ask(self) -> bool:
        """Say whether to ask; each time that it has been open for its time, one call may."""
        if self._failures < self._most:
            return True
        if self._clock() < self._closed_at:
            return False
        self._closed_at = self._clock() + self._seconds
        return True

    def answered(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        self._closed_at = self._clock() + self._seconds


class GuardError(Exception):
    """The guard gave no answer that decides; the text is the reason, a label of a metric."""


class Answer(NamedTuple):
    """What the guard says of a call: a hold, none but go on, or a refusal with its text."""

    hold: str | None = None
    kind: str = "unknown"
    plenty: bool = False
    refusal: str | None = None


class Known(NamedTuple):
    """What is remembered of an account: its kind, and until when it has plenty."""

    kind: str = "unknown"
    plenty_until: float = 0.0


def usd_of(credit: object) -> str | None:
    """Return credits as a text in USD; None where it is no number of credits."""
    if not isinstance(credit, int) or isinstance(credit, bool):
        return None
    usd = Decimal(credit).scaleb(-CREDITS_PER_USD)
    text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def refusal_of(account: str, error: Mapping[str, Any]) -> str:
    """Return what a client reads whose call is refused."""
    required, available = usd_of(error.get("required")), usd_of(error.get("available"))
    if required is None or available is None:
        said = error.get("message")
        return f"Account {account!r} has not enough credit for this call" + (
            f": {said[:MOST_OF_MESSAGE]}" if isinstance(said, str) and said else "."
        )
    return (
        f"Account {account!r} has not enough credit for this call: it may cost {required} USD, "
        f"and {available} USD are available. Top up the account, or set a lower max_tokens."
    )


class SpendGuard(CustomLogger):  # type: ignore[misc] # it is in the proxy's own environment
    """Asks the guard for a hold before each call, and puts its id into the call's metadata.

    Args:
        settings: of the environment.
        clock: seconds that only grow.
        transport: in place of the network.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self._settings, self._clock, self._transport = settings, clock, transport
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_seconds, clock)
        self._client: httpx.AsyncClient | None = None
        self._accounts: OrderedDict[str, Known] = OrderedDict()
        self._holds: OrderedDict[str, None] = OrderedDict()
        self._prices: OrderedDict[str, tuple[float, Prices]] = OrderedDict()
        self._releases: set[asyncio.Task[None]] = set()
        self._lines: dict[str, float] = {}

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,  # noqa: ANN401 - LiteLLM's own class, which differs by version
        cache: object,  # noqa: ARG002 - LiteLLM's signature
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Let a call go on, with a hold where the guard made one. Raises `HTTPException` (402)."""
        payer = run = None
        try:
            # First, whatever comes: no client may name a hold.
            put_hold(data, None)
            payer = payer_of(named_by(user_api_key_dict, data), self._settings)
            run = run_of(spend_logs_of(data), getattr(user_api_key_dict, "end_user_id", None))
            kind = str(getattr(call_type, "value", call_type))
            refusal = await self._asked(payer, run, data, kind)
        except GuardError as error:
            refusal = self._without_answer(payer, run, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of this file must not stop the calls
            refusal = self._without_answer(payer, run, f"{PLUGIN_FAULT}{type(error).__name__}")
        if refusal is not None:
            self._mark_refused(data)
            raise HTTPException(status_code=402, detail=refusal)
        return data

    def _mark_refused(self, data: dict[str, Any]) -> None:
        try:
            put_hold(data, REFUSED)
        except Exception as error:  # noqa: BLE001 - as above
            self._count(f"mark_{type(error).__name__}")

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,  # noqa: ARG002 - LiteLLM's signature
        user_api_key_dict: object,  # noqa: ARG002 - LiteLLM's signature
        traceback_str: str | None = None,  # noqa: ARG002 - LiteLLM's signature
    ) -> None:
        """Release the hold of a request that was refused before a model was chosen for it.

        One that reached a model may have cost something, even if it failed: it keeps its hold.
        """
        try:
            if hold := self._unused_hold(request_data):
                self._release(hold)
        except Exception as error:  # noqa: BLE001 - as above
            self._count(f"release_{type(error).__name__}")

    async def _asked(
        self, payer: Payer, run: Run, data: dict[str, Any], call_type: str
    ) -> str | None:
        """Ask for a hold; why the call is refused, else None. Raises `GuardError`."""
        if text_of(data.get("model")) is None or call_type in NOT_ASKED_FOR:
            return None
        models = models_of(data)
        if len(models) > MOST_MODELS:
            self._count("refused")
            return f"A call may name {MOST_MODELS} models at most, fallbacks among them."
        model = max(models, key=self._dearness)
        if self._is_free(model) or self._prices_of(model).free:
            self._count("free")
            return None
        if call_type in CHATS and "," in str(data["model"]):
            # LiteLLM reports one of these calls, whatever their number: no hold would cover them,
            # and no receipt be written for the others.
            self._count("refused")
            return SEVERAL_MODELS
        known = self._accounts.get(_key(payer, run), Known())
        if self._clock() < known.plenty_until:
            self._count("plenty")
            return None
        asked = {"account": payer.account, "run_id": run.id, "attempt": run.attempt}
        if payer.of_run and run.id is not None:
            asked["account_of_run"] = True
        asked |= _question(data, model, call_type, self._prices_of(model))
        asked["answer_within_ms"] = max(1, int(self._settings.timeout_seconds * 1_000))
        answer = await self._answer(payer.account, asked)
        plenty_until = self._clock() + self._settings.plenty_seconds if answer.plenty else 0.0
        _keep(self._accounts, _key(payer, run), Known(answer.kind, plenty_until), KEPT_ACCOUNTS)
        if answer.hold is not None:
            if put_hold(data, answer.hold):
                _keep(self._holds, answer.hold, None, KEPT_HOLDS)
            else:
                self._release(answer.hold)
        self._count("refused" if answer.refusal else "held" if answer.hold else "not_held")
        return answer.refusal

    def _is_free(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._settings.free_models)

    def _dearness(self, model: str) -> tuple[bool, Decimal, Decimal]:
        """Return by what one model is dearer than another."""
        if self._is_free(model):
            return False, Decimal(0), Decimal(0)
        prices = self._prices_of(model)
        known = [price for price in (prices.output, prices.input) if price is not None]
        return not known or any(known), prices.output or Decimal(0), prices.input or Decimal(0)

    def _prices_of(self, model: str) -> Prices:
        until, prices = self._prices.get(model, (0.0, Prices(None, None, 0)))
        if self._clock() >= until:
            prices = prices_of(model)
            _keep(self._prices, model, (self._clock() + PRICE_SECONDS, prices), KEPT_MODELS)
        return prices

    async def _answer(self, account: str, asked: dict[str, Any]) -> Answer:
        """Return what the guard says. Raises `GuardError` where it says nothing that decides."""
        if not self._breaker.may_ask():
            raise GuardError("breaker_open")
        try:
            response = await asyncio.wait_for(
                self._connection().post("/v1/holds", json=asked), self._settings.timeout_seconds
            )
        except (asyncio.TimeoutError, httpx.TimeoutException):  # noqa: UP041 - two in Python 3.10
            self._breaker.failed()
            # It may be made all the same.
            self._later(self._forsaken(asked))
            raise GuardError("timeout") from None
        except Exception as error:
            self._breaker.failed()
            raise GuardError(type(error).__name__) from error
        if response.status_code >= 500:  # noqa: PLR2004 - a status code
            if _is_of_account(response):
                self._breaker.answered()
                raise GuardError("account_busy")
            self._breaker.failed()
            raise GuardError(f"http_{response.status_code}")
        self._breaker.answered()
        try:
            return _read(account, response)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise GuardError("unreadable_answer") from error

    def _without_answer(self, payer: Payer | None, run: Run | None, reason: str) -> str | None:
        """Decide without the guard: why the call is refused, None where it goes on."""
        account = payer.account if payer else None
        known = self._accounts.get(_key(payer, run)) if payer and run else None
        kind = known.kind if known else "unknown"
        closed = self._settings.fail == "closed" or (
            self._settings.fail == "auto" and kind == "prepaid"
        )
        self._count("failed_closed" if closed else "failed_open", reason)
        if not closed:
            return None
        whose = f"of account {account!r}" if account else "for this call"
        return f"The credit {whose} cannot be checked at the moment. Try again in a moment."

    def _connection(self) -> httpx.AsyncClient:
        """Return the one client of this process."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._settings.url,
                headers={"Authorization": f"Bearer {self._settings.token}"},
                timeout=self._settings.timeout_seconds,
                limits=httpx.Limits(max_connections=500, max_keepalive_connections=100),
                # The guard is never behind a proxy; certificates are those of the system.
                trust_env=False,
                verify=ssl.create_default_context(),
                transport=self._transport,
            )
        return self._client

    def _unused_hold(self, data: Mapping[str, Any]) -> str | None:
        """Return the hold of a request for which no model was chosen, and forget it."""
        boxes = boxes_of(data)
        if any("deployment" in box or "model_info" in box for box in boxes):
            return None
        for box in boxes:
            hold = (object_of(box.get(SPEND_LOGS)) or {}).get(HOLD)
            # Of what a client sends, nothing is in here.
            if isinstance(hold, str) and hold in self._holds:
                del self._holds[hold]
                return hold
        return None

    def _release(self, hold: str) -> None:
        self._later(self._released(hold))

    def _later(self, release: Coroutine[Any, Any, None]) -> None:
        if len(self._releases) >= MOST_RELEASES:
            release.close()
            self._count("release_left_out")
            return
        task = asyncio.ensure_future(release)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _forsaken(self, asked: dict[str, Any]) -> None:
        """Release the hold of an ask whose answer came too late: the same ask has the same hold."""
        try:
            late = {**asked, "answer_within_ms": int(LATE_SECONDS * 1_000)}
            response = await asyncio.wait_for(
                self._connection().post("/v1/holds", json=late, timeout=LATE_SECONDS), LATE_SECONDS
            )
            hold = _read(asked["account"], response).hold
        except Exception:  # noqa: BLE001 - the hold expires by itself
            self._count("release_failed")
            return
        if hold is not None:
            await self._released(hold)

    async def _released(self, hold: str) -> None:
        try:
            answer = await asyncio.wait_for(
                self._connection().post(f"/v1/holds/{hold}/release"), self._settings.timeout_seconds
            )
            self._count("released" if answer.is_success else "release_failed")
        except Exception:  # noqa: BLE001 - the hold expires by itself
            self._count("release_failed")

    def _count(self, outcome: str, reason: str = "") -> None:
        self.counted[outcome] += 1
        if OUTCOMES is not None:
            OUTCOMES.labels(outcome, reason).inc()
        if not reason or self._clock() < self._lines.get(outcome, 0.0):
            return
        self._lines[outcome] = self._clock() + LINE_SECONDS
        _log.warning(
            "The spend guard: %s (%s), %d so far",
            outcome,
            reason,
            self.counted[outcome],
            exc_info=reason.startswith(PLUGIN_FAULT),
        )


def _keep(
    remembered: "OrderedDict[str, Any]",
    name: str,
    value: object,
    most: int,
) -> None:
    """Remember a value, and forget those that were remembered longest ago."""
    remembered[name] = value
    remembered.move_to_end(name)
    while len(remembered) > most:
        remembered.popitem(last=False)


def _key(payer: Payer, run: Run) -> str:
    """Return under which name is remembered what the guard said of an account.

    Which one a run has is known to the guard alone, so that is remembered for the run.
    """
    return f"\0{run.attempt} {run.id}" if payer.of_run and run.id is not None else payer.account


def _question(
    data: Mapping[str, Any], model: str, call_type: str, prices: Prices
) -> dict[str, Any]:
    """Return what the guard is told of a call, to estimate it."""
    nonce = uuid.uuid4().hex
    return {
        "litellm_call_id": identifier(text_of(data.get("litellm_call_id")) or nonce),
        "nonce": nonce,
        "model": identifier(model),
        "call_type": call_type,
        "estimate": {
            "prompt_tokens": prompt_tokens(size_of(data)),
            "max_tokens": allowed_tokens(data, call_type, prices.longest),
            "n": answers_of(data),
            "input_price_usd": _text(prices.input),
            "output_price_usd": _text(prices.output),
        },
    }


def _text(usd: Decimal | None) -> str | None:
    if usd is None:
        return None
    return f"{min(usd, MOST_PRICE).quantize(PRICE_DIGITS, ROUND_UP).normalize():f}"


def _is_of_account(response: httpx.Response) -> bool:
    """Say whether the guard is well, and cannot decide about this account alone."""
    try:
        return bool(response.json()["error"]["type"] == "account_busy")
    except (ValueError, TypeError, KeyError):
        return False


def _read(account: str, response: httpx.Response) -> Answer:
    """Read an answer of the guard. Raises `GuardError` or what a body of another form raises."""
    if response.status_code == httpx.codes.PAYMENT_REQUIRED:
        error = response.json()["error"]
        whose = text_of(error.get("account")) or account
        # Refused once, it is not let through because the guard is away.
        return Answer(kind="prepaid", refusal=refusal_of(whose, error))
    if response.status_code != httpx.codes.OK:
        raise GuardError(f"http_{response.status_code}")
    body = response.json()
    hold = body["hold"]
    return Answer(
        hold=None if hold is None else str(uuid.UUID(hold)),
        kind=str(body["kind"]),
        plenty=body["plenty"] is True,
    )


def _outcome_counter() -> Any:  # noqa: ANN401 - the package may not be there
    try:
        from prometheus_client import Counter as Counted  # noqa: PLC0415 - as above

        return Counted(
            "billing_spend_guard_calls",
            "Calls of this proxy by what the spend guard's plugin did.",
            ("outcome", "reason"),
        )
    except (ImportError, ValueError):  # not installed; or the file was loaded before
        return None


OUTCOMES: Final = _outcome_counter()
# It loads for a second: not in the first client's request.
litellm.token_counter(model="gpt-3.5-turbo", text="warm")
guard = SpendGuard(settings_of(os.environ))
