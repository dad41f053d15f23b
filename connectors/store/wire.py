"""PostgreSQL's binary wire forms, written in bulk: rows for COPY and arrays as parameters.

A frame writes thousands of rows of few shapes; packing them here costs a third of adapting value by value.
Source: PostgreSQL documentation, "COPY, Binary Format", and array_send of its sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, pack

from psycopg import Connection, adapt, sql
from psycopg.pq import Format

_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_SIZES = {"h": 2, "i": 4, "q": 8}
_length = Struct(">i").pack
_LENGTHS = [_length(size) for size in range(4_096)]
"""The four bytes before each value, looked up rather than packed for all values but the longest."""


class CopyInto:
    """COPY into the columns of one table: first those of fixed size, then those of bytes or text.

    `fixed` maps column names to struct codes (h smallint, i integer, q bigint, 16s sixteen bytes). No column takes NULL.
    """

    def __init__(self, table: str, fixed: dict[str, str], variable: Sequence[str]) -> None:
        names = (*fixed, *variable)
        self.statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name in names)
        )
        self._fixed_count = len(fixed)
        self._pack = Struct(">h" + "".join("i" + code for code in fixed.values())).pack
        self._template: list[int | bytes] = [len(names)]
        for code in fixed.values():
            self._template += (_SIZES[code] if code in _SIZES else int(code[:-1]), 0)

    def data(self, rows: Iterable[Sequence[int | bytes]]) -> bytes:
        """Rows (fixed columns, then bytes) as one binary COPY stream."""
        count, packer, template, parts = self._fixed_count, self._pack, self._template.copy(), [_COPY_HEAD]
        append, lengths = parts.append, _LENGTHS
        longest = len(lengths)
        for row in rows:
            template[2::2] = row[:count]
            append(packer(*template))
            for value in row[count:]:
                size = len(value)  # type: ignore[arg-type]
                append(lengths[size] if size < longest else _length(size))
                append(value)  # type: ignore[arg-type]
        append(_COPY_END)
        return b"".join(parts)

    def write(self, connection: Connection[tuple[object, ...]], rows: Sequence[Sequence[int | bytes]]) -> None:
        """Copies rows into the table."""
        if rows:
            with connection.cursor() as cursor, cursor.copy(self.statement) as copy:
                copy.write(self.data(rows))


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


def _sized(values: Iterable[bytes]) -> bytes:
    return b"".join([part for value in values for part in (_length(len(value)), value)])


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
