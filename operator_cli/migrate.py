"""The command `migrate`: the database's schema, brought up to date."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ledger import migration
from ledger.healing import LedgerError
from operator_cli.tables import Csv, Form, Json, form_of, show
from operator_cli.terminal import DATABASE, err, fail, out, settings
from runtime.rows import Listing


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if a migration is pending.")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="REVISION", help="The last migration to apply.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Bring the database to the schema that this release needs.

    Consumers may write meanwhile. After an interruption, run it again: it continues. What
    consumers of the release before still need stays until they are gone: run it again then.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    url = settings(DATABASE).database_url.get_secret_value()
    try:
        pending = migration.pending(url)
        if check:
            _tell("pending", pending, form)
            raise typer.Exit(1 if pending else 0)
        applied = migration.migrate(url, to) if pending else []
        if not pending:
            migration.identified(url)
        member = migration.held_back(url, to)
    except migration.UnknownRevisionError as error:
        fail(str(error), 2)
    except migration.NewerSchemaError as error:
        fail(f"{error}: the schema is newer. Run the release that migrated it, or a newer one")
    except migration.FormerMemberError as error:
        fail(f"{error}: replace it by one of the last release or of this one, and run this again")
    except migration.TableHeldError as error:
        fail(f"the last step changed nothing: {error}")
    except LedgerError as error:
        fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL and the user's rights")
    # Nothing, where another process was quicker.
    _tell("applied", applied, form)
    if member is not None:
        err.print(
            f"the last migration waits: {member}. Run `billing migrate` again when all of them"
            " are replaced",
            markup=False,
        )


def _tell(state: str, revisions: Sequence[str], form: Form) -> None:
    """Print revisions with their state; none of them says that the schema is up to date."""
    if form is Form.TABLE:
        out.print(f"{state}: {', '.join(revisions)}" if revisions else "the schema is up to date")
    else:
        rows = [{"revision": revision, "state": state} for revision in revisions]
        show("", Listing(("revision", "state"), rows), form)
