"""Alembic's entry point: runs the versions on the engine that ``prepare`` hands over."""

from alembic import context

from queue_ext.migrations import version_table


def run() -> None:
    db = context.config.attributes["database"]
    with db.engine.connect() as connection:
        if db.dialect == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        context.configure(
            connection=connection,
            target_metadata=db.tables.metadata,
            version_table=version_table(db),
            render_as_batch=True,
        )
        context.config.attributes["prefix"] = db.tables.prefix
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
