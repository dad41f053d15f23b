"""Transfers for the tests of the bank: good ones, and any that hypothesis can think of."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import strategies as st

from connectors.bank.initiation import CreditTransfer, Debtor, uetr_of, write_initiation

DEBTOR = Debtor("Treasury & <Sons>", {"scheme": "us", "routing": "121000358", "number": "4410001"}, "SBNKUS33")
DAY, CREATED = date(2020, 4, 10), datetime(2020, 4, 9, 12, 0, tzinfo=UTC)
GOOD = CreditTransfer(
    "E1", uetr_of("E1"), "I1", 120_000, "USD", "us-000017", {"scheme": "us", "routing": "021000021", "number": "123456789"}, "Economic impact payment"
)

PRINTABLE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=140)
ACCOUNTS = st.one_of(
    st.builds(
        lambda registration, number: {"scheme": "dk", "registration": registration, "number": number},
        st.from_regex(r"[0-9]{1,4}", fullmatch=True),
        st.from_regex(r"[0-9]{1,10}", fullmatch=True),
    ),
    st.sampled_from(["DK5000400440116243", "FO6264600001631634", "GL8964710001000206", "GB29NWBK60161331926819", "FR1420041010050500013M02606"]).map(
        lambda iban: {"scheme": "iban", "iban": iban}
    ),
    st.builds(
        lambda routing, number: {"scheme": "us", "routing": routing, "number": number},
        st.sampled_from(["121000358", "111000025", "021000021"]),
        st.from_regex(r"[0-9]{4,17}", fullmatch=True),
    ),
)


@st.composite
def batches(draw: st.DrawFn, currency: str | None = None) -> list[CreditTransfer]:
    chosen = currency or draw(st.sampled_from(["USD", "DKK", "JPY", "KRW", "EUR"]))
    stems = draw(st.lists(st.from_regex(r"[A-Za-z0-9+?:().,' -]{1,30}", fullmatch=True), min_size=1, max_size=8, unique=True))
    return [
        CreditTransfer(
            stem,
            uetr_of(stem),
            f"I{stem}",
            draw(st.integers(1, 10**15)),
            chosen,
            draw(PRINTABLE),
            draw(ACCOUNTS),
            draw(st.just("") | PRINTABLE),
            draw(st.sampled_from(["SSBE", "TAXR"])),
        )
        for stem in stems
    ]


def written(transfers: list[CreditTransfer], created: datetime = CREATED) -> bytes:
    return write_initiation(transfers, debtor=DEBTOR, execution_day=DAY, created=created)


def transfer(identity: str, amount_minor: int = 120_000, **changes: object) -> CreditTransfer:
    fields: dict[str, object] = {"subject": f"us-{identity}", "account": GOOD.account, "remittance": "Economic impact payment", **changes}
    return CreditTransfer(identity, uetr_of(identity), f"I{identity}", amount_minor, "USD", **fields)  # type: ignore[arg-type]
