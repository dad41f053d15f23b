"""PostgreSQL's binary wire forms, written in bulk: rows for COPY and arrays as parameters.

A frame writes thousands of rows of few shapes; packing them here costs a third of adapting value by value.
Source: PostgreSQL documentation, "COPY, Binary Format", and array_send of its sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from struct import Struct, pack

from psycopg import Connection, adapt, sql
from psycopg.pq import Format

_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_SIZES = {"h": 2, "i": 4, "q": 8}
_length, _short = Struct(">i").pack, Struct(">h").pack
_LENGTHS = [_length(size) for size in range(4_096)]
"""The four bytes before each value, looked up rather than packed for all values but the longest."""


def _is_constant(column: Sequence[int | bytes]) -> bool:
    return column[0] == column[-1] and column.count(column[0]) == len(column)


def _in_turn(slots: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The first of each, then the second of each, and so on."""
    parts = [b""] * (len(slots) * len(slots[0]))
    for number, slot in enumerate(slots):
        parts[number :: len(slots)] = slot
    return parts


def _lengths(values: Sequence[bytes]) -> list[bytes]:
    sizes = list(map(len, values))
    return list(map(_LENGTHS.__getitem__ if max(sizes, default=0) < len(_LENGTHS) else _length, sizes))


class CopyInto:
    """COPY into the columns of one table: first those of fixed size, then those of bytes or text.

    `fixed` maps column names to struct codes (h smallint, i integer, q bigint, 16s sixteen bytes). No column takes NULL.
    """

    def __init__(self, table: str, fixed: dict[str, str], variable: Sequence[str]) -> None:
        names = (*fixed, *variable)
        self.statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name in names)
        )
        self._count = _short(len(names))
        self._fixed = [(code, _length(_SIZES[code] if code in _SIZES else int(code[:-1]))) for code in fixed.values()]

    def data(self, columns: Sequence[Sequence[int | bytes]]) -> bytes:
        """Columns of equal length (fixed ones, then bytes) as one binary COPY stream.

        Laid out column by column, since a statement executed for each row or value takes three times as long; what is the same in every row is packed once.
        """
        rows = len(columns[0])
        codes, literal = ">", self._count
        packed: list[Iterable[int | bytes]] = []
        for (code, length), column in zip(self._fixed, columns, strict=False):
            literal += length
            if _is_constant(column):
                literal += pack(">" + code, column[0])
            else:
                codes += f"{len(literal)}s{code}"
                packed += (repeat(literal), column)
                literal = b""
        slots: list[Sequence[bytes]] = [list(map(Struct(f"{codes}{len(literal)}s").pack, *packed, repeat(literal, rows)))]
        for column in columns[len(self._fixed) :]:
            if _is_constant(column):
                slots.append([_length(len(column[0])) + column[0]] * rows)  # type: ignore[arg-type, operator]
            else:
                slots += (_lengths(column), column)  # type: ignore[arg-type]
        return b"".join((_COPY_HEAD, *_in_turn(slots), _COPY_END))

    def write(self, connection: Connection[tuple[object, ...]], rows: Sequence[Sequence[int | bytes]]) -> None:
        """Copies rows into the table."""
        if rows:
            self.write_columns(connection, list(zip(*rows, strict=True)))

    def write_columns(self, connection: Connection[tuple[object, ...]], columns: Sequence[Sequence[int | bytes]]) -> None:
        """Copies columns of equal length into the table."""
        with connection.cursor() as cursor, cursor.copy(self.statement) as copy:
            copy.write(self.data(columns))


class Packed:
    """An array parameter in PostgreSQL's binary form."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class TextArray(Packed):
    """A text[] parameter."""


class ByteaArray(Packed):
    """A bytea[] parameter."""


class BigintArray(Packed):
    """A bigint[] parameter."""


def _array(element_oid: int, count: int, body: bytes) -> bytes:
    return pack(">iiiii", 1, 0, element_oid, count, 1) + body if count else pack(">iii", 0, 0, element_oid)


def _sized(values: Sequence[bytes]) -> bytes:
    return b"".join(_in_turn((_lengths(values), values)))


def texts(values: Sequence[str]) -> TextArray:
    """A list of text as a parameter."""
    return TextArray(_array(25, len(values), _sized([value.encode() for value in values])))


def blobs(values: Sequence[bytes]) -> ByteaArray:
    """A list of bytes as a parameter."""
    return ByteaArray(_array(17, len(values), _sized(values)))


def bigints(values: Sequence[int]) -> BigintArray:
    """A list of whole numbers as a parameter."""
    body: list[int] = [8] * (2 * len(values))
    body[1::2] = values
    return BigintArray(_array(20, len(values), Struct(">" + "iq" * len(values)).pack(*body)))


def _dumper(array_oid: int) -> type[adapt.Dumper]:
    class PackedDumper(adapt.Dumper):
        format = Format.BINARY
        oid = array_oid

        def dump(self, obj: Packed) -> bytes:
            return obj.data

    return PackedDumper


def register(connection: Connection[tuple[object, ...]]) -> None:
    """Teaches a connection the array parameters of this module."""
    for kind, oid in ((TextArray, 1009), (ByteaArray, 1001), (BigintArray, 1016)):
        connection.adapters.register_dumper(kind, _dumper(oid))
