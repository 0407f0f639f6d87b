"""The command `topics`: the cluster's topics against their declaration."""

from typing import Annotated, Any

import typer

from operator_cli.cluster import Cluster, Difference
from operator_cli.tables import Csv, Json, form_of, remark, show
from operator_cli.terminal import KAFKA, explained, kafka, settings
from schemas.topics import load_topics


def topics(
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Create and grow; without it, only show.")
    ] = False,
    replication_factor: Annotated[
        int | None, typer.Option(help="Replicas of new topics; -1 is the broker's default.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare the cluster's topics with their declaration. Never shrinks, never deletes."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(KAFKA)
    declared = load_topics(found.billing_topic_prefix)
    replicas = replication_factor or found.billing_topic_replication_factor
    with explained(found):
        cluster = Cluster(kafka(found), replicas)
        differences = cluster.differences(declared)
        show("Topics", [_row(difference) for difference in differences], form)
        if all(difference.settled for difference in differences):
            remark("nothing to do", form)
        elif apply:
            for one in cluster.apply(differences):
                remark(f"not taken: {one.topic}, {one.setting}={one.wanted}: {one.why}", form)
            remark("applied", form)
        else:
            remark("dry run: add --apply to make these changes", form)
        for said in cluster.remarks(declared):
            remark(f"note: {said}", form)


def _row(difference: Difference) -> dict[str, Any]:
    changes = [f"{name}: {old} → {new}" for name, (old, new) in difference.config.items()]
    to_do = "create" if not difference.exists else "grow" if difference.grows else ""
    return {
        "topic": difference.topic.name,
        "partitions": f"{difference.partitions} of {difference.topic.partitions}",
        "settings": "\n".join(changes),
        "to do": to_do or ("set" if changes else ""),
    }
