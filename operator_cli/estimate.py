"""The commands `estimate rates` and `estimate backtest`: what is held for calls, and how well."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final

import typer

from charging.backtest import Afforded, Backtest, Judged, Rules
from charging.estimate import Rates
from charging.money import trimmed
from ledger.rates import calls_in_order, learned
from operator_cli.amount import credits_in, usd
from operator_cli.period import Period, moment_option, period_of
from operator_cli.settings import Settings
from operator_cli.tables import Csv, Form, Json, form_of, remark, show, show_json
from operator_cli.terminal import DATABASE, examples, explained, settings
from runtime.rows import Listing, Row

estimate = typer.Typer(
    help="What is held for a call before it is made: see docs/estimates.md.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=examples("estimate rates", "estimate backtest --from 2026-10-01 --to 2026-11-01"),
)

_RATES: Final = (
    "model", "calls", "input USD/1M", "output USD/1M", "answer tokens", "request USD",
)  # fmt: skip
_JUDGED: Final = (
    "model", "calls", "cold start", "free", "covered %", "median held/charged",
    "worst charged/held", "held USD", "charged USD",
)  # fmt: skip
_AFFORDED: Final = (
    "balance USD", "account", "calls", "refused", "refused falsely", "lowest balance USD",
)  # fmt: skip
_UNKNOWN_LIMITS: Final = (
    "no receipt tells which length of an answer its client allowed: each call is judged as if it "
    "allowed any, with as many prompt tokens as were counted behind it, and with today's markup"
)


@estimate.command(
    short_help="Show the rates that are learned from receipts.",
    epilog=examples("estimate rates", "estimate rates --days 30 --json"),
)
def rates(
    *,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3_660, help="How far back; default: ESTIMATE_DAYS."),
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what calls of each model cost, as far as its newest receipts tell.

    Models with fewer calls than ESTIMATE_FEWEST_CALLS are left out: for these the price counts that
    LiteLLM knows, and without one ESTIMATED_USD_PER_1K_TOKENS.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    until = datetime.now(UTC)
    since = until - (timedelta(days=days) if days else found.estimate_window)
    with explained(found):
        known = learned(
            found.database_url.get_secret_value(),
            "",
            since,
            until,
            calls=found.estimate_calls,
            rules=found.learning,
        )
    remark(f"calls that ended {Period(since, until)}", form)
    rows = [_rates_row(known[model]) for model in sorted(known)]
    show("Rates", Listing(_RATES, rows), form)


@estimate.command(
    short_help="Judge past calls: what would have been held, and who refused.",
    epilog=examples(
        "estimate backtest --from 2026-10-01 --to 2026-11-01",
        "estimate backtest --from 2026-10-01 --to 2026-11-01 --account acme --balance 25",
        "estimate backtest --from 2026-10-01 --to 2026-11-01 --learn-days 14 --csv > models.csv",
    ),
)
def backtest(
    *,
    since: Annotated[datetime, moment_option("Calls that began then or later", "--from")],
    until: Annotated[
        datetime,
        moment_option("Calls that began before: `2026-11-01` includes October", "--to"),
    ],
    learn_days: Annotated[
        int | None,
        typer.Option(
            min=1, max=366, help="Days before each day to learn from; default: ESTIMATE_DAYS."
        ),
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="Judge only this account's calls; repeatable. All are learned from."),
    ] = None,
    balance: Annotated[
        list[str] | None,
        typer.Option(
            help="Begin each account with so many US dollars, and tell which calls would have been "
            "refused; repeatable."
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Judge the holds of past calls: whether they cover the charge, how much they take.

    Each call is judged with rates learned from calls that had ended before its day (UTC) began.
    With --balance, calls of an account run at once as they did: a hold is open from the start of
    its call to the end. `refused falsely` are calls that the balance would have paid for. --csv
    prints the table of models, or with --balance that of balances. See docs/estimates.md.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    period = period_of(since, until)
    balances = sorted({credits_in(text) for text in balance or []})
    found = settings(DATABASE)
    window = timedelta(days=learn_days) if learn_days else found.estimate_window
    chosen = set(account or [])
    judge = Backtest(
        Rules(found.learning, found.terms, window, found.estimate_calls),
        since,
        balances,
        lambda name: not chosen or name in chosen,
    )
    _judge_all(found, judge, since - window - timedelta(days=1), until)
    models = [_judged_row(model, judge.models[model]) for model in sorted(judge.models)]
    refusals = _by_balance(judge.afforded, by_account=bool(chosen))
    total = _judged_row("total", judge.total)
    remark(f"calls that began {period}, each with rates learned from {window.days} days", form)
    remark(_UNKNOWN_LIMITS, form)
    match form:
        case Form.JSON:
            show_json(
                {
                    "from": period.since,
                    "to": period.until,
                    "learned from days": window.days,
                    "models": models,
                    "total": {name: total[name] for name in _JUDGED[1:]},
                    "balances": refusals,
                }
            )
        case Form.CSV if balances:
            show("", Listing(_AFFORDED, refusals), form)
        case Form.CSV:
            show("", Listing(_JUDGED, models), form)
        case Form.TABLE:
            show("Holds of past calls", Listing(_JUDGED, [*models, total]), form)
            if balances:
                show("Calls that would have been refused", Listing(_AFFORDED, refusals), form)


def _judge_all(found: Settings, judge: Backtest, since: datetime, until: datetime) -> None:
    with (
        explained(found),
        calls_in_order(found.database_url.get_secret_value(), since, until) as calls,
    ):
        for call in calls:
            judge.take(call)
    judge.end()


def _rates_row(one: Rates) -> Row:
    values = (
        one.model, one.samples, _a_million(one.input), _a_million(one.output), one.output_tokens,
        one.request,
    )  # fmt: skip
    return dict(zip(_RATES, values, strict=True))


def _a_million(rate: Decimal) -> Decimal:
    return Decimal(trimmed(rate.scaleb(6)))


def _judged_row(model: str, one: Judged) -> Row:
    share = one.share_covered
    covered = None if share is None else Decimal(trimmed(share.scaleb(2)))
    values = (
        model, one.calls, one.cold, one.free, covered, one.median_ratio, one.worst, usd(one.held),
        usd(one.charged),
    )  # fmt: skip
    return dict(zip(_JUDGED, values, strict=True))


def _by_balance(afforded: Mapping[tuple[int, str], Afforded], *, by_account: bool) -> list[Row]:
    """Return a row for each balance and account; for each balance where no account was named."""
    groups = dict[tuple[int, str | None], list[Afforded]]()
    for balance, account in sorted(afforded):
        key = (balance, account if by_account else None)
        groups.setdefault(key, []).append(afforded[balance, account])
    return [
        dict(zip(_AFFORDED, (usd(balance), account, *_sums(ones)), strict=True))
        for (balance, account), ones in groups.items()
    ]


def _sums(ones: list[Afforded]) -> tuple[int, int, int, Decimal | None]:
    return (
        sum(one.calls for one in ones),
        sum(one.refused for one in ones),
        sum(one.refused_falsely for one in ones),
        usd(min(one.lowest for one in ones)),
    )
