"""What a person does with what could not be billed: settle a wrong price, look at a dead letter."""

import csv
import json
from datetime import UTC, datetime

from tests.inputs.callbacks import element, in_run
from tests.processes.consuming import CALLBACKS, Consuming

RED = {"metadata": {"user_api_key_team_id": "team-red", "spend_logs_metadata": {"run_id": "one"}}}
BLUE = {"metadata": {"user_api_key_team_id": "blue", "spend_logs_metadata": {"run_id": "one"}}}
ESCAPE = "\x1b[2J"


def negative(number: int) -> bytes:
    """A call of a model whose price LiteLLM gets wrong."""
    name = f"negative-{number}"
    return element(
        id=name, litellm_call_id=name, response_cost=-0.0123, model_group="vertex-claude", **RED
    )


def test_08_negative_costs_of_one_model_stop_nobody_and_can_be_settled(
    consuming: Consuming,
) -> None:
    member = consuming.member(CONSUMER_DEAD_LETTER_SHARE="0.5")
    neighbours = [element(id=f"n-{n}", litellm_call_id=f"n-{n}", **BLUE) for n in range(3)]
    consuming.send(*(negative(number) for number in range(120)), *neighbours, in_run(1))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(4)
    rows = consuming.tables.deferred()
    assert {(row["reason"], row["sent_cost"]) for row in rows} == {("unusable_cost", "-0.0123")}
    assert len(rows) == 120
    assert consuming.dead_letters() == []
    listed = consuming.command("deferred", "list", "--limit", "200", COLUMNS="200")
    assert listed.count("-0.0123") == 120

    settle = ("deferred", "settle", "negative-7", "--cost", "0.0021", "--note", "price list")
    [sent] = csv.DictReader(consuming.command(*settle, "--by", "ada", "--csv").splitlines())
    assert (sent["done"], sent["cost_usd"], sent["by"]) == ("sent", "0.0021", "ada")
    waive = ("deferred", "waive", "negative-8", "--note", "ours", "--by", "ada")
    [waived] = json.loads(consuming.command(*waive, "--json"))
    assert waived["call_key"] == "negative-8|negative-8"
    assert (waived["done"], waived["cost_usd"], waived["note"]) == ("waived", None, "ours")
    consuming.all_committed()
    receipt = consuming.tables.receipt(litellm_call_id="negative-7")
    assert (receipt["cost_text"], receipt["cost_source"]) == ("0.0021", "operator")
    resolved = {
        row["litellm_call_id"]: row["resolution"]
        for row in consuming.tables.deferred()
        if row["resolved_at"]
    }
    assert resolved == {"negative-7": "settled", "negative-8": "waived"}
    assert member.end() == 0


def test_a_dead_letter_can_be_listed_looked_at_and_sent_back(consuming: Consuming) -> None:
    member = consuming.member()
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
    consuming.send(element(status=None, messages="a secret"), headers=[("odd", ESCAPE.encode())])
    consuming.send(b"\xff no JSON", source="litellm/eu")
    consuming.all_committed()

    listed = json.loads(consuming.command("dead-letters", "list", "--json"))
    by_reason = {row["reason"]: row for row in listed}
    assert set(by_reason) == {"contract_broken", "unreadable"}
    assert by_reason["unreadable"]["source"] == "litellm/eu"
    assert by_reason["unreadable"]["bytes"] == len(b"\xff no JSON")
    # To Kafka a time of -1 ms means the newest record.
    ages_ago = ("--since", "1969-12-31T23:59:59.999")
    assert json.loads(consuming.command("dead-letters", "list", *ages_ago, "--json")) == listed
    chosen = ("--reason", "contract_broken", "--since", began)
    [row] = json.loads(consuming.command("dead-letters", "list", *chosen, "--json"))
    assert row["stood at"].startswith(consuming.prefix + CALLBACKS)
    assert row["at"] in consuming.command("dead-letters", "list")

    shown = consuming.command("dead-letters", "show", row["at"])
    assert "contract_broken" in shown
    assert "gpt-4o-mini" in shown
    assert "a secret" not in shown
    assert ESCAPE not in shown
    assert "a secret" in consuming.command("dead-letters", "show", row["at"], "--content")
    broken = by_reason["unreadable"]["at"]
    told = json.loads(consuming.command("dead-letters", "show", broken, "--content", "--json"))
    assert (told["says"], told["value_base64"]) == (None, "/yBubyBKU09O")
    assert ["source", "litellm/eu"] in told["headers"]

    assert "send 1 back" in consuming.command("dead-letters", "replay", "--at", row["at"])
    assert len(consuming.dead_letters()) == 2
    assert "sent 1 back" in consuming.command("dead-letters", "replay", "--at", broken, "--apply")
    consuming.all_committed()
    assert len(consuming.dead_letters()) == 3, "what is still bad is parked once more"
    assert member.end() == 0
