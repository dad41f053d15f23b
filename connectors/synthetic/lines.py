"""Statements as events: CloudEvents in JSON, one line each, written as the registry documents type their fields."""

from __future__ import annotations

import polars as pl

from pipeline.registry import EventType, Field, Registries

from .statements import Statement


def lines(statement: Statement, frame: pl.DataFrame, name: pl.Expr, index: pl.Expr, registries: Registries) -> pl.DataFrame:
    """The events of a statement about the rows of a frame that it is about: `block` and `line`."""
    _, event = registries.event_types()[statement.type][statement.source]
    number = index.cast(pl.String).str.zfill(8)
    head = (
        f'{{"specversion":"1.0","id":"{statement.id}-', number, f'-{statement.sequence}","source":"{statement.source}","type":"{statement.type}","subject":"',
        name, '","time":"', _day_text(statement.told), f'T06:00:00Z","sequence":"{statement.sequence}","data":{{',
    )  # fmt: skip
    pieces = [pl.lit(piece) if isinstance(piece, str) else piece for piece in (*head, *_data(statement, event), "}}")]
    return frame.filter(statement.said).select("block", line=pl.concat_str(*pieces))


def _data(statement: Statement, event: EventType) -> list[pl.Expr]:
    """The fields one after the other, those of a group in its braces. A null one is left out with its comma, but the first ones always stand."""
    fields = {".".join(field.path): field for field in event.fields}
    pieces: list[pl.Expr] = []
    group = comma = ""
    for path, value in statement.fields.items():
        outer, _, inner = path.rpartition(".")
        if outer != group:
            pieces.append(pl.lit(("}" if group else "") + (f'{comma}"{outer}":{{' if outer else "")))
            group, comma = outer, "" if outer else comma
        pieces.append(pl.concat_str(pl.lit(f'{comma}"{inner}":'), _json(fields[path], value)).fill_null(""))
        comma = ","
    return [*pieces, pl.lit("}")] if group else pieces


def _json(field: Field, value: pl.Expr) -> pl.Expr:
    match field.type:
        case "money":
            return pl.concat_str(pl.lit('{"minor":'), value.cast(pl.String), pl.lit(f',"currency":"{field.currency}"}}'))
        case "number":
            return value.cast(pl.String)
        case "yes_no":
            return pl.when(value).then(pl.lit("true")).when(~value).then(pl.lit("false"))
        case "date":
            return pl.concat_str(pl.lit('"'), _day_text(value), pl.lit('"'))
        case _:
            return pl.concat_str(pl.lit('"'), value, pl.lit('"'))


def _day_text(day: pl.Expr) -> pl.Expr:
    return day.cast(pl.Int32).cast(pl.Date).cast(pl.String)
