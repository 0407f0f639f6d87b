"""The HTTP endpoints: holds for the plugin, accounts and entries for people's tools."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from charging.holds import HoldState
from charging.money import CREDITS_PER_USD
from ledger.admission import Answer, Ask
from ledger.credits import (
    AmountError,
    CreditError,
    Entry,
    Movement,
    ReferenceTakenError,
    UnknownAccountError,
)
from runtime import VERSION
from schemas.receipt import plain
from schemas.text import identifier
from spend_guard import metrics
from spend_guard.books import AwayError, Books, CreditBooks, HoldBooks
from spend_guard.door import account_of
from spend_guard.messages import (
    AccountAnswer,
    EntriesAnswer,
    EntryAnswer,
    EntryAsk,
    HoldAnswer,
    HoldAsk,
    Refused,
    Release,
    refused,
)
from spend_guard.placing import BusyError, Placing
