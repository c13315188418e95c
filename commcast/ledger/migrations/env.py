"""Alembic's entry: runs the steps over the connection it is given."""

from alembic import context

from commcast.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
