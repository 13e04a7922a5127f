"""What POST /jobs is measured against: a bare FastAPI route that commits one row to a SQLite file with the same settings."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.pool import QueuePool
from sqlmodel import Field, Session, SQLModel

from queue_ext.store.database import Database


class Row(SQLModel, table=True):
    __tablename__ = "bare"

    id: int | None = Field(default=None, primary_key=True)
    task: str
    payload: str


class Body(BaseModel):
    task: str
    payload: dict


def main(file: str, port: int) -> None:
    engine = Database(f"sqlite:///{file}", "unused_").engine
    assert isinstance(engine.pool, QueuePool)
    SQLModel.metadata.tables["bare"].create(engine)
    app = FastAPI()

    @app.post("/rows", status_code=201)
    def add(body: Body) -> dict:
        with Session(engine) as session:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            row = Row(task=body.task, payload=str(body.payload))
            session.add(row)
            session.commit()
            return {"id": row.id, "task": row.task}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
