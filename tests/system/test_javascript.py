"""Subscribers in JavaScript: what the contract page shows, with the packages that it names."""

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.downloads import javascript
from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.pages import blocks
from tests.observers.topics import Topics
from tests.processes.process import Server, whole_lines
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas" / "json"
RECEIPTS, CALLBACKS = "billing.receipts.v1", "billing.callbacks.v1"
SUBSCRIBER, LZ4 = blocks("docs/subscribers.md", "javascript")
IMPORT = 'import kafkajs from "kafkajs";\n'
PRINT_CALL_KEYS = """async function eachMessage({ message }) {
  console.log(JSON.stringify({ key: message.headers["call-key"].toString() }));
}
"""
STRICT = """
import { readFileSync } from "node:fs";
import addFormats from "ajv-formats";
import Ajv2020 from "ajv/dist/2020.js";
const ajv = new Ajv2020();
addFormats(ajv);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const [schema, ...values] = process.argv.slice(2);
const valid = ajv.compile(read(schema));
console.log(JSON.stringify(values.map((path) => valid(read(path)))));
"""


@pytest.fixture(autouse=True)
def node() -> None:
    """Node.js is here; in CI a skipped test fails the run."""
    if lacking := javascript.missing():
        pytest.skip(f"{lacking}: subscribers in JavaScript were not tried")


@pytest.fixture
def subscribe(deployment: Deployment, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts a script of the page on the deployment's topics, in a group of its own."""
    started: list[Server] = []

    def start(text: str) -> Server:
        for name in (RECEIPTS, CALLBACKS):
            text = text.replace(f'["{name}"]', f'["{deployment.topic(name)}"]')
        text = text.replace("credits-by-account-js", f"tests-{uuid.uuid4().hex}")
        shutil.copy(SCHEMAS / "receipt.schema.json", tmp_path)
        command = javascript.script(tmp_path, "subscriber.mjs", text)
        environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": deployment.bootstrap}
        log = tmp_path / "subscriber.log"
        server = Server("the subscriber", command, log, env=environment, cwd=tmp_path)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def printed(server: Server) -> list[dict[str, str]]:
    """The lines that a script has printed."""
    server.check()
    return [json.loads(line) for line in whole_lines(server.log)]


def test_the_subscriber_of_the_contract_reads_receipts_and_checks_them(
    deployment: Deployment,
    topics: Topics,
    ledger: Ledger,
    calls: Calls,
    subscribe: Callable[[str], Server],
) -> None:
    accounts = [calls.name("account") for _ in range(3)]
    costs = ("1.25e-06", "0.00033000000000000005", "12")
    elements = [
        calls.with_cost(cost, end_user=account).element for account in accounts for cost in costs
    ]
    for _ in range(2):
        deployment.accept(captures.array(elements))
    topics.wait_until_consumed()
    charged = {
        account: sum(row["charged_credits"] for row in ledger.receipts(billing_account_id=account))
        for account in accounts
    }
    assert all(charged.values())
    subscriber = subscribe(SUBSCRIBER)

    def sums() -> dict[str, int]:
        return {line["account"]: int(line["credits"]) for line in printed(subscriber)}

    eventually(
        lambda: {account: sums().get(account) for account in accounts} == charged,
        f"the subscriber to have the sums {charged}",
    )


def test_with_the_codec_of_the_contract_it_reads_callbacks_too(
    deployment: Deployment, topics: Topics, calls: Calls, subscribe: Callable[[str], Server]
) -> None:
    before = topics.ends(CALLBACKS)
    ours = [calls.make() for _ in range(20)]
    deployment.accept(captures.array([call.element for call in ours]))
    keys = {record.headers["call-key"].decode() for record in topics.since(CALLBACKS, before)}
    text = SUBSCRIBER.replace(RECEIPTS, CALLBACKS).replace(IMPORT, IMPORT + LZ4)
    whole = re.compile(r"async function eachMessage.*?^}\n", re.DOTALL | re.MULTILINE)
    subscriber = subscribe(whole.sub(lambda _: PRINT_CALL_KEYS, text))

    def seen() -> set[str]:
        return {line["key"] for line in printed(subscriber)}

    eventually(lambda: seen() >= keys, "the subscriber to read every callback")


@pytest.mark.parametrize("name", ["callback", "receipt", "usage-unit"])
def test_a_validator_in_its_default_strict_mode_takes_every_schema(
    name: str, tmp_path: Path
) -> None:
    examples = ROOT / "schemas" / "examples"
    good = examples / f"{name}.json"
    if name == "callback":
        good = tmp_path / "good.json"
        (element,) = captures.elements("real-nonstream.json")
        good.write_bytes(element)
    bad = tmp_path / "bad.json"
    wrong = {"response_cost_usd": "1E+2", "finished_at": "yesterday", "status": 1}
    bad.write_text(json.dumps(json.loads(good.read_text()) | wrong))
    command = javascript.script(tmp_path, "strict.mjs", STRICT)
    schema = SCHEMAS / f"{name}.schema.json"
    done = subprocess.run(
        [*command, schema, good, bad],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [True, False]
