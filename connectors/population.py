"""The demo's population: real tax units of the Current Population Survey, as events of three registries.

Filing status, people, children, age in years and income are the survey's. **Accounts, residency, birthdays and deaths are
invented** by the seed, and so are the faults of delivery; no line says anything about a living person. The same file, seed
and shares give the same bytes.

Every planted case is put among units that would otherwise be paid, and no unit has two, so that what must come out can be
counted without deciding anything (`Population.expected`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec
import polars as pl
from stdnum.us import rtn

RESIDENCY, ACCOUNT, TAX = "registry.residency", "registry.account", "registry.tax"
CHUNK = 5_000
LAG = 20_000
"""How many places later a correction, and every second duplicate, is delivered."""
SHARED_BY = 5

Chunk = tuple[str, list[tuple[bytes, bytes]]]


class DemoShares(msgspec.Struct, frozen=True, kw_only=True):
    """How much goes wrong: shares of all units, of all events, or (`conflicts`, `corrupt`) a number of events."""

    no_account: float = 0.015
    account_invalid: float = 0.003
    account_closed: float = 0.005
    account_shared: float = 0.002
    account_pending: float = 0.001
    dead: float = 0.010
    abroad: float = 0.005
    residency_unknown: float = 0.003
    income_unknown: float = 0.006
    income_preliminary: float = 0.004
    corrected: float = 0.003
    overtaken: float = 0.002
    reissued: float = 0.001
    withdrawn: float = 0.001
    late_residency: float = 0.002
    late_account: float = 0.002
    late_tax: float = 0.004
    conflicts: int = 20
    corrupt: int = 48
    duplicated_events: float = 0.01
    reordered_events: float = 0.02


CLEAN = DemoShares(**dict.fromkeys(DemoShares.__struct_fields__, 0))
"""Everybody alive, resident, with a good account of their own and a final income; each event once and in order."""

HELD = ("no_account", "account_invalid", "account_closed", "account_shared", "account_pending")
REFUSED = ("dead", "abroad")
UNDETERMINED = ("residency_unknown", "income_unknown", "income_preliminary", "conflicts")
HARMLESS = ("corrected", "overtaken", "reissued", "withdrawn", "late_residency", "late_account", "late_tax")
CASES = HELD + REFUSED + UNDETERMINED + HARMLESS

CORRUPTIONS = (
    ("truncated_json", TAX, b',"data":', None),
    ("not_text", TAX, b'{"specversion"', b"\xff\xfe\x00\x81{"),
    ("unknown_type", ACCOUNT, b"registry.account.assignment.v1", b"registry.account.assignement.v9"),
    ("unknown_field", TAX, b'"filing_status":', b'"favourite_colour":"green","filing_status":'),
    ("unknown_status", TAX, b'"status":"final"', b'"status":"guessed"'),
    ("wrong_currency", TAX, b'"currency":"USD"', b'"currency":"XTS"'),
    ("impossible_date", RESIDENCY, b'"valid_from":"2012-01-01"', b'"valid_from":"2019-02-30"'),
    ("amount_out_of_range", TAX, b'"agi":{"minor":', b'"agi":{"minor":900000000000000'),
)
"""Kind, topic, what is replaced in a sound line, and with what (None: the line is cut off there)."""


class Expected(msgspec.Struct, frozen=True):
    """What the planted cases must lead to, with every event delivered; amounts in minor units of `currency`.

    Keys of `refused`, `undetermined` and `held` are the planted cases. `paid` and `paid_minor` are what the bank is asked
    for, less claims. `events` counts deliveries by topic, duplicates and corrupt lines included.
    """

    subjects: int
    currency: str
    granted: int
    granted_minor: int
    refused: dict[str, int]
    undetermined: dict[str, int]
    held: dict[str, int]
    held_minor: dict[str, int]
    paid: int
    paid_minor: int
    harmless: dict[str, int]
    events: dict[str, int]
    duplicates: int
    conflicts: int
    corrupt: dict[str, int]


class Population:
    """The units of a file as registry events, by seed."""

    def __init__(self, parquet: Path, seed: int, shares: DemoShares | None = None, *, first: int | None = None) -> None:
        """`first` takes only so many units of the file."""
        self.seed = seed
        self.shares = shares or DemoShares()
        units = pl.read_parquet(parquet).sort("unit_id").with_columns(pl.col("filing_status").cast(pl.String))
        self._units = self._with_cases(units.head(first) if first is not None else units)

    def events(self) -> Iterator[Chunk]:
        """(topic, [(key, line), …]) of at most 5,000: residency, accounts, assessments; then whatever comes late, in the same order.

        The key is the subject; a line ends without a line feed.
        """
        for topic, frame in self._deliveries.items():
            yield from _chunks(topic, frame)
        for topic, frame in self._late.items():
            yield from _chunks(topic, frame)

    def expected(self) -> Expected:
        """What must come of it; by the law's own column of the file."""
        units = self._units
        money = {str(case): (count, minor) for case, count, minor in units.group_by("case").agg(pl.len(), pl.col("eip1_law_cents").sum()).iter_rows()}
        count = {case: money.get(case, (0, 0))[0] for case in CASES}
        dependents = units.filter("claimed_as_dependent").height
        nothing_due = units.filter(~pl.col("claimed_as_dependent") & (pl.col("eip1_law_cents") == 0)).height
        granted = [case for case in money if case not in REFUSED + UNDETERMINED]
        granted_count = sum(money[case][0] for case in granted) - dependents - nothing_due
        granted_minor = sum(money[case][1] for case in granted)
        held_minor = {case: money.get(case, (0, 0))[1] for case in HELD}
        return Expected(
            subjects=units.height,
            currency="USD",
            granted=granted_count,
            granted_minor=granted_minor,
            refused={**{case: count[case] for case in REFUSED}, "dependent": dependents, "nothing_due": nothing_due},
            undetermined={case: count[case] for case in UNDETERMINED},
            held={case: count[case] for case in HELD},
            held_minor=held_minor,
            paid=granted_count - sum(count[case] for case in HELD),
            paid_minor=granted_minor - sum(held_minor.values()),
            harmless={case: count[case] for case in HARMLESS},
            events={topic: self._deliveries[topic].height + self._late[topic].height for topic in self._deliveries},
            duplicates=sum(int(frame["copy"].sum()) for frame in self._deliveries.values()),
            conflicts=count["conflicts"],
            corrupt={kind: sum(frame.filter(pl.col("corrupt") == kind).height for frame in self._deliveries.values()) for kind, *_ in CORRUPTIONS},
        )

    def _with_cases(self, units: pl.DataFrame) -> pl.DataFrame:
        """Each unit with the one case planted on it ("" for most) and, where an account is shared, whose it is."""
        payable = units.filter((pl.col("eip1_law_cents") > 0) & ~pl.col("claimed_as_dependent"))["unit_id"].to_list()
        wanted = {case: self._wanted(case, units.height) for case in CASES}
        if sum(wanted.values()) > len(payable):
            raise ValueError(f"the shares ask for {sum(wanted.values()):,} cases, but only {len(payable):,} units would be paid; lower the shares")
        chosen = random.Random(f"{self.seed}/cases").sample(payable, sum(wanted.values()))
        case = [name for name in CASES for _ in range(wanted[name])]
        first_shared = case.index("account_shared") if "account_shared" in case else 0
        owner = [chosen[i - (i - first_shared) % SHARED_BY] if name == "account_shared" else chosen[i] for i, name in enumerate(case)]
        planted = pl.DataFrame({"unit_id": chosen, "case": case, "owner": owner}, schema={"unit_id": pl.Int32, "case": pl.String, "owner": pl.Int32})
        return units.join(planted, on="unit_id", how="left", maintain_order="left").with_columns(
            pl.col("case").fill_null(""),
            pl.col("owner").fill_null(pl.col("unit_id")),
            place=(pl.int_range(pl.len(), dtype=pl.Int64) * 4),
        )

    def _wanted(self, case: str, units: int) -> int:
        share = getattr(self.shares, case)
        number = share if isinstance(share, int) else round(share * units)
        return number - number % SHARED_BY if case == "account_shared" else number

    @cached_property
    def _deliveries(self) -> dict[str, pl.DataFrame]:
        on_time = {topic: rows.filter(~pl.col("late")) for topic, rows in self._issued.items()}
        return {topic: self._disturbed(topic, rows) for topic, rows in on_time.items()}

    @cached_property
    def _late(self) -> dict[str, pl.DataFrame]:
        return {topic: rows.filter("late").with_columns(copy=False, corrupt=pl.lit(None, pl.String)) for topic, rows in self._issued.items()}

    @cached_property
    def _issued(self) -> dict[str, pl.DataFrame]:
        """Every event of each registry once, with the place at which it is delivered."""
        return {RESIDENCY: _residency(self._units), ACCOUNT: _accounts(self._units, self.seed), TAX: _assessments(self._units)}

    def _disturbed(self, topic: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows in the order of delivery, some moved within a window, some twice, and the corrupt ones."""
        rng = random.Random(f"{self.seed}/{topic}")
        moved = rng.sample(range(rows.height), round(self.shares.reordered_events * rows.height))
        shift = pl.DataFrame({"at": moved, "shift": [rng.randrange(-4 * CHUNK, 4 * CHUNK) for _ in moved]}, schema={"at": pl.UInt32, "shift": pl.Int64})
        rows = rows.with_row_index("at").join(shift, on="at", how="left", maintain_order="left")
        rows = rows.with_columns(pl.col("place") + pl.col("shift").fill_null(0), copy=False, corrupt=pl.lit(None, pl.String)).drop("at", "shift")

        again = rng.sample(range(rows.height), round(self.shares.duplicated_events * rows.height))
        copies = rows[again].with_columns(pl.col("place") + pl.when(pl.int_range(pl.len()) % 2 == 0).then(1).otherwise(4 * LAG), copy=True)

        kinds = [kind for i in range(self.shares.corrupt) for kind, of, *_ in [CORRUPTIONS[i % len(CORRUPTIONS)]] if of == topic]
        sound = rows.filter((pl.col("case") == "") & pl.col("whole"))
        broken = sound[rng.sample(range(sound.height), len(kinds))]
        broken = broken.with_columns(pl.col("place") + 2, corrupt=pl.Series(kinds, dtype=pl.String), suffix=pl.lit("x"))
        return pl.concat([rows, copies, broken]).sort("place", maintain_order=True)


def _residency(units: pl.DataFrame) -> pl.DataFrame:
    """Who lives here; a death and a move abroad are second events with a higher sequence."""
    day_of_year = (pl.col("unit_id").cast(pl.Int64) * 48_271 % 365).cast(pl.Int64)
    rows = units.filter(pl.col("case") != "residency_unknown").select(
        "unit_id",
        "case",
        "place",
        birth=(pl.date(2019 - pl.col("age_head").cast(pl.Int32), 1, 1) + pl.duration(days=day_of_year)).cast(pl.String),
        sequence=pl.lit(1),
        suffix=pl.lit(""),
        late=pl.col("case") == "late_residency",
        whole=pl.lit(True),
        withdraws=pl.lit(None, pl.Int32),
        since=pl.lit("2012-01-01"),
        resident=pl.lit("true"),
        death=pl.lit(""),
    )
    second = {"place": pl.col("place") + 1, "sequence": pl.lit(2)}
    day_of_death = (pl.col("unit_id") % 26 + 1).cast(pl.String).str.zfill(2)
    dead = rows.filter(pl.col("case") == "dead").with_columns(**second, death=_filled("2020-03-%", day_of_death))
    abroad = rows.filter(pl.col("case") == "abroad").with_columns(**second, since=pl.lit("2019-07-01"), resident=pl.lit("false"))
    return pl.concat([rows, dead, abroad])


def _accounts(units: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One ordinary account for each; a closing is a second event with a higher sequence."""
    rng = random.Random(f"{seed}/accounts")
    stems = ["02100002", "12100035", "11100002"] + [f"{rng.choice([*range(1, 13), *range(21, 33)]):02}{rng.randrange(10**6):06}" for _ in range(397)]
    good = pl.Series([stem + rtn.calc_check_digit(stem) for stem in stems])
    wrong = pl.Series([stem + str((int(rtn.calc_check_digit(stem)) + 1) % 10) for stem in stems])
    owner = pl.col("owner").cast(pl.Int64)
    bank = (owner * 48_271 % 2_147_483_647 % len(stems)).cast(pl.UInt32)
    # Multiplying modulo a prime gives every owner a number of their own.
    number = ((owner * 104_729 + rng.randrange(10**9)) % 9_999_999_967).cast(pl.String).str.zfill(10)
    rows = units.filter(pl.col("case") != "no_account").select(
        "unit_id",
        "case",
        "place",
        sequence=pl.lit(1),
        suffix=pl.lit(""),
        late=pl.col("case") == "late_account",
        whole=pl.lit(True),
        withdraws=pl.lit(None, pl.Int32),
        routing=pl.when(pl.col("case") == "account_invalid").then(pl.lit(wrong).gather(bank)).otherwise(pl.lit(good).gather(bank)),
        number=number,
        status=pl.when(pl.col("case") == "account_pending").then(pl.lit("pending")).otherwise(pl.lit("active")),
    )
    closed = rows.filter(pl.col("case") == "account_closed").with_columns(pl.col("place") + 1, sequence=pl.lit(2), status=pl.lit("closed"))
    return pl.concat([rows, closed])


def _assessments(units: pl.DataFrame) -> pl.DataFrame:
    """The year's assessments; where a case asks for it a wrong one, half of them 12,000 dollars too high, half too low, and what mends it."""
    case, even = pl.col("case"), pl.col("unit_id") % 2 == 0
    told = (case != "income_unknown") | even
    rows = units.filter(told).select(
        "unit_id",
        "case",
        "people",
        "children_under_17",
        "children_under_18",
        "filing_status",
        dependent=pl.when("claimed_as_dependent").then(pl.lit("true")).otherwise(pl.lit("false")),
        place=pl.col("place") + pl.when(case.is_in(["corrected", "reissued"])).then(4 * LAG + 1).otherwise(0),
        sequence=case.replace_strict({"corrected": 2, "overtaken": 2, "reissued": 3}, default=1, return_dtype=pl.Int32),
        suffix=pl.lit(""),
        late=case == "late_tax",
        whole=pl.col("agi_cents") >= 0,
        withdraws=pl.lit(None, pl.Int32),
        status=pl.when(case == "income_preliminary").then(pl.lit("preliminary")).otherwise(pl.lit("final")),
        agi=pl.when(case == "income_unknown").then(None).otherwise("agi_cents"),
    )
    at = rows.join(units.select("unit_id", start="place"), on="unit_id", maintain_order="left")
    after_its_correction = pl.when((case == "withdrawn") & even).then(8 * LAG).otherwise(0)
    wrong = at.filter(case.is_in(["corrected", "overtaken", "reissued", "withdrawn", "conflicts"])).with_columns(
        agi=pl.col("agi") + pl.when(even).then(1_200_000).otherwise(-1_200_000),
        sequence=case.replace_strict({"withdrawn": 2}, default=1, return_dtype=pl.Int32),
        place=pl.col("start") + case.replace_strict({"overtaken": 4 * LAG, "conflicts": 4 * LAG, "withdrawn": 1}, default=0) + after_its_correction,
        whole=False,
    )
    mended = at.filter(case.is_in(["reissued", "withdrawn"])).with_columns(
        place=pl.col("start") + 4 * LAG,
        sequence=case.replace_strict({"reissued": 2}, default=3, return_dtype=pl.Int32),
        withdraws=case.replace_strict({"reissued": 1}, default=2, return_dtype=pl.Int32),
        whole=False,
    )
    return pl.concat([rows, wrong.drop("start"), mended.drop("start")])


def _filled(text: str, *parts: pl.Expr) -> pl.Expr:
    """`text` with each % replaced by a column, in order."""
    pieces = text.split("%")
    columns = [column for piece, part in zip(pieces, parts, strict=False) for column in (pl.lit(piece), part)]
    return pl.concat_str(*columns, pl.lit(pieces[-1]))


def _unit() -> pl.Expr:
    return pl.col("unit_id").cast(pl.String).str.zfill(6)


def _envelope(prefix: str, source: str, kind: str, first_hour: int) -> pl.Expr:
    seconds = pl.col("unit_id").cast(pl.Int64) // 50 + pl.col("sequence").cast(pl.Int64) * 3_600
    time = (pl.datetime(2020, 3, 27, first_hour) + pl.duration(seconds=seconds)).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    sequence = pl.col("sequence").cast(pl.String)
    text = f'{{"specversion":"1.0","id":"{prefix}-%-%%","source":"{source}","type":"{kind}","subject":"us-%","time":"%","sequence":"%","data":'
    return _filled(text, _unit(), sequence, pl.col("suffix"), _unit(), time, sequence)


def _tax_line() -> pl.Expr:
    agi = pl.when(pl.col("agi").is_null()).then(pl.lit("")).otherwise(_filled(',"agi":{"minor":%,"currency":"USD"}', pl.col("agi").cast(pl.String)))
    text = '{"year":2019,"status":"%","filing_status":"%","people":%,"children_under_17":%,"children_under_18":%,"claimed_as_dependent":%%}}'
    counts = [pl.col(name).cast(pl.String) for name in ("people", "children_under_17", "children_under_18")]
    said = _filled(text, pl.col("status"), pl.col("filing_status"), *counts, pl.col("dependent"), agi)
    takes_back = _filled('{"withdraws":"irs-2019-%-%","reason":"issued in error"}}', _unit(), pl.col("withdraws").cast(pl.String))
    prefix, source = "irs-2019", "urn:registry:tax:us"
    return (
        pl.when(pl.col("withdraws").is_null())
        .then(pl.concat_str(_envelope(prefix, source, "registry.tax.assessment.v1", 9), said))
        .otherwise(pl.concat_str(_envelope(prefix, source, "registry.correction.v1", 9), takes_back))
    )


def _residency_line() -> pl.Expr:
    death = pl.when(pl.col("death") == "").then(pl.lit("")).otherwise(_filled(',"death_date":"%"', pl.col("death")))
    said = _filled('{"valid_from":"%","birth_date":"%","resident":%%}}', pl.col("since"), pl.col("birth"), pl.col("resident"), death)
    return pl.concat_str(_envelope("residency", "urn:registry:residency", "registry.residency.person.v1", 5), said)


def _account_line() -> pl.Expr:
    text = '{"account":{"scheme":"us","routing":"%","number":"%"},"status":"%","valid_from":"2015-01-01","holder":"match"}}'
    said = _filled(text, pl.col("routing"), pl.col("number"), pl.col("status"))
    return pl.concat_str(_envelope("account", "urn:registry:account", "registry.account.assignment.v1", 7), said)


def _chunks(topic: str, rows: pl.DataFrame) -> Iterator[Chunk]:
    line = {RESIDENCY: _residency_line, ACCOUNT: _account_line, TAX: _tax_line}[topic]()
    key = _filled("us-%", _unit())
    for start in range(0, rows.height, CHUNK):
        part = rows.slice(start, CHUNK)
        told = part.select(key=key.cast(pl.Binary), line=line.cast(pl.Binary), corrupt="corrupt")
        records = list(zip(told["key"].to_list(), told["line"].to_list(), strict=True))
        for at in told["corrupt"].is_not_null().arg_true().to_list():
            records[at] = (records[at][0], _corrupted(records[at][1], told["corrupt"][at]))
        yield topic, records


def _corrupted(line: bytes, kind: str) -> bytes:
    _, _, was, becomes = next(row for row in CORRUPTIONS if row[0] == kind)
    return line[: line.index(was)] if becomes is None else line.replace(was, becomes, 1)
