"""Accounts: which assignment counts, what may be paid to, and what holds an order."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accounts import ASSIGNMENT, Account, AccountPolicy, account_keys, account_of, check, is_routing_number, is_valid, parse_account, resolve
from pipeline.bank_days import bank_day_after, is_bank_day
from pipeline.facts import DAY_MS, FIRST_DAY, LAST_DAY, Known, day, day_date, encode_history
from pipeline.holds import EXPLAINED, HoldReason
from pipeline.problems import Malformed

TODAY = day(date(2020, 4, 15))
POLICY = AccountPolicy()

GOOD = """
DK5000400440116243 FO6264600001631634 GL8964710001000206 DE89370400440532013000 GB29NWBK60161331926819 SE4550000000058398257466 NO9386011117947
FI2112345600000785 FR1420041010050500013M02606 NL91ABNA0417164300 BE68539007547034 IE29AIBK93115212345678 CH9300762011623852957 AT611904300234573201
ES9121000418450200051332 IT60X0542811101000000123456 PL61109010140000071219812874 PT50000201231234567890154 EE382200221020145685 LV80BANK0000435195001
LT121000011101001000 LU280019400644750000 CZ6508000000192000145399 IS140159260076545510730339 MT84MALT011000012345MTLCAST001S GR1601101250000000012300695
CY17002001280000001200527600 HU42117730161111101800000000 RO49AAAA1B31007593840000 BG80BNBG96611020345678 HR1210010051863000160 SI56263300012039086
SK3112000000198742637541 TR330006100519786457841326 AE070331234567890123456 SA0380000000608010167519 UA213223130000026007233566001
NI45BAPR00000013000003558124 LC55HEMM000100010012001200023015 DK2600010000000001 DK6999999999999999 DK6430000003456789 DK6604000012345678
"""
BAD = """
DK5100400440116243 DK5000400440162143 DK500040044011624 DK50004004401162430 DK5000400440A16243 ZZ5000400440116243 DK0000400440116243 DK9900400440116243
GB28NWBK60161331926819 DE8937040044053201300 DK2204000012345678
"""


def us(number="123456789", routing="021000021"):
    return {"scheme": "us", "routing": routing, "number": number}


def dk(registration="0040", number="0440116243"):
    return {"scheme": "dk", "registration": registration, "number": number}


def assigned(sequence=1, account=None, status="active", *, benefit="", since=FIRST_DAY, until=LAST_DAY, holder="", id="", told="2020-01-02"):
    values = {f"account.{name}": value for name, value in (account or us()).items()} | {"account.status": status}
    values |= {"account.benefit": benefit} if benefit else {}
    values |= {"account.holder": holder} if holder else {}
    time_ms = day(date.fromisoformat(told)) * DAY_MS
    return Known(sequence, id or f"a{sequence}", "accounts", ASSIGNMENT, time_ms, since, until, "final", values)


def withdrawal(of, sequence=9):
    return Known(sequence, f"c{sequence}", "accounts", "registry.correction.v1", 0, FIRST_DAY, LAST_DAY, "final", {}, of)


def verdict(*events, policy=POLICY, currency="USD", on=TODAY, subjects=1, benefit="us-eip1"):
    return check(resolve(events, benefit, on), policy, currency, on, subjects)


def chosen(*events, benefit="us-eip1", on=TODAY):
    assignment = resolve(events, benefit, on)
    return assignment and assignment.account.parts[-1]


# Which assignment counts


def test_the_latest_assignment_replaces_the_earlier_ones():
    assert chosen(assigned(1, us("1111")), assigned(2, us("2222"))) == "2222"
    assert chosen(assigned(2, us("2222")), assigned(1, us("1111"))) == "2222"


def test_an_account_for_the_benefit_comes_before_the_ordinary_one_while_it_is_usable():
    ordinary = assigned(5, us("1111"))
    assert chosen(ordinary, assigned(1, us("2222"), benefit="us-eip1")) == "2222"
    assert chosen(ordinary, assigned(1, us("2222"), benefit="another")) == "1111"
    for unusable in (
        assigned(1, us("2222"), "closed", benefit="us-eip1"), assigned(1, us("2222"), "pending", benefit="us-eip1"),
        assigned(1, us("2222"), benefit="us-eip1", since=TODAY + 1), assigned(1, us("2222"), benefit="us-eip1", until=TODAY),
    ):  # fmt: skip
        assert chosen(ordinary, unusable) == "1111"


def test_an_unusable_account_for_the_benefit_says_why_where_there_is_no_ordinary_one():
    assert verdict(assigned(1, status="closed", benefit="us-eip1")) == HoldReason.ACCOUNT_CLOSED
    assert verdict(assigned(1, benefit="another")) == HoldReason.NO_ACCOUNT


def test_an_assignment_that_has_not_begun_leaves_the_present_one_in_place():
    present, coming = assigned(1, us("1111")), assigned(2, us("2222"), since=TODAY + 10)
    assert chosen(present, coming) == "1111"
    assert chosen(present, coming, on=TODAY + 10) == "2222"
    assert verdict(coming) == HoldReason.ACCOUNT_NOT_VALID_ON_DAY


def test_nobody_is_paid_to_an_account_they_have_replaced_even_when_the_new_one_has_ended():
    assert verdict(assigned(1, us("1111")), assigned(2, us("2222"), until=TODAY)) == HoldReason.ACCOUNT_NOT_VALID_ON_DAY
    assert verdict(assigned(1), assigned(2, status="closed")) == HoldReason.ACCOUNT_CLOSED


def test_a_withdrawn_assignment_never_held():
    assert chosen(assigned(1, us("1111")), assigned(2, us("2222")), withdrawal("a2")) == "1111"
    assert verdict(assigned(1), withdrawal("a1")) == HoldReason.NO_ACCOUNT


def test_an_event_id_with_two_contents_holds_the_order_until_it_is_withdrawn():
    one, other = assigned(2, us("2222")), assigned(2, us("3333"))
    assert verdict(assigned(1), one, other) == HoldReason.ACCOUNT_DISPUTED
    assert verdict(assigned(1), one, other, withdrawal("a2")) is None
    assert chosen(one, other, assigned(3, us("4444"))) == "4444"


def test_events_of_other_registries_do_not_matter():
    tax = Known(9, "t", "us-irs", "registry.tax.assessment.v1", 0, FIRST_DAY, LAST_DAY, "final", {"tax.agi": 1})
    assert verdict(tax) == HoldReason.NO_ACCOUNT
    assert verdict(tax, assigned(1)) is None


events = st.builds(
    assigned,
    st.integers(1, 4),
    st.sampled_from([us("1111"), us("2222"), dk(), us("3333", "123456789")]),
    st.sampled_from(["active", "pending", "closed", "blocked"]),
    benefit=st.sampled_from(["", "us-eip1", "another"]),
    since=st.sampled_from([FIRST_DAY, TODAY - 5, TODAY, TODAY + 5]),
    until=st.sampled_from([LAST_DAY, TODAY, TODAY + 1]),
    holder=st.sampled_from(["", "match", "no_match"]),
    id=st.sampled_from(["", "k1", "k2"]),
)


@given(
    st.lists(st.one_of(events, st.builds(withdrawal, st.sampled_from(["a1", "k1"]))), max_size=6, unique_by=lambda event: encode_history((event,))), st.data()
)
def test_the_order_in_which_events_arrived_does_not_matter(history, data):
    other = data.draw(st.permutations(history))
    assert resolve(history, "us-eip1", TODAY) == resolve(other, "us-eip1", TODAY)
    assert account_keys(history) == account_keys(other)


# What may be paid to


@pytest.mark.parametrize(
    ("hold", "assignment", "policy"),
    [
        ("account_pending", {"status": "pending"}, {}),
        ("account_closed", {"status": "closed"}, {}),
        ("account_blocked", {"status": "blocked"}, {}),
        ("account_not_valid_on_day", {"until": TODAY}, {}),
        ("account_cooling_off", {"told": "2020-04-14"}, {"cooling_off_bank_days": 5}),
        ("account_scheme_not_allowed", {}, {"schemes": ("iban",)}),
        ("account_invalid", {"account": us(routing="123456789")}, {}),
        ("account_country_not_allowed", {}, {"countries": ("DK",)}),
        ("account_currency_not_allowed", {}, {"currencies": {"us": ("DKK",)}}),
        ("holder_mismatch", {"holder": "no_match"}, {}),
        ("holder_mismatch", {"holder": "close_match"}, {}),
        (None, {"holder": "close_match"}, {"accepted_holder_answers": ("match", "close_match")}),
        ("holder_mismatch", {}, {"accepted_holder_answers": ("match",)}),
        (None, {"holder": "match"}, {"accepted_holder_answers": ("match",)}),
        (None, {"holder": "not_possible"}, {}),
        (None, {"told": "2020-04-14"}, {}),
    ],
)
def test_each_hindrance_holds_the_order_with_its_own_reason(hold, assignment, policy):
    assert verdict(assigned(1, **assignment), policy=AccountPolicy(**policy)) == hold


def test_more_subjects_than_allowed_on_one_account_hold_the_order():
    assert verdict(assigned(1), subjects=3) is None
    assert verdict(assigned(1), subjects=4) == HoldReason.ACCOUNT_SHARED


def test_the_first_hindrance_in_the_fixed_order_is_the_one_named():
    everything = assigned(1, us("x", routing="1"), "pending", until=TODAY, holder="no_match", told="2020-04-14")
    strict = AccountPolicy(schemes=("iban",), countries=("DK",), currencies={"us": ()}, cooling_off_bank_days=5)
    assert verdict(everything, policy=strict, subjects=9) == HoldReason.ACCOUNT_PENDING
    invalid = assigned(1, us(routing="123456789"), holder="no_match")
    assert verdict(invalid, subjects=9) == HoldReason.ACCOUNT_INVALID


def test_a_new_account_is_usable_from_the_bank_day_on_which_the_waiting_time_has_passed():
    policy = AccountPolicy(cooling_off_bank_days=5, calendar="DK")
    account = assigned(1, dk(), told="2022-04-12")  # a Tuesday; Thursday to Monday are Easter's closing days
    first = day(date(2022, 4, 22))
    assert verdict(account, policy=policy, currency="DKK", on=first - 1) == HoldReason.ACCOUNT_COOLING_OFF
    assert verdict(account, policy=policy, currency="DKK", on=first) is None


def test_a_further_word_about_the_same_account_does_not_start_the_waiting_time_again():
    policy = AccountPolicy(cooling_off_bank_days=5)
    again = assigned(2, told="2020-04-14", holder="match")
    assert verdict(assigned(1, told="2020-01-02"), again, policy=policy) is None
    assert verdict(assigned(1, us("9999"), told="2020-01-02"), again, policy=policy) == HoldReason.ACCOUNT_COOLING_OFF
    assert verdict(assigned(1, status="pending", told="2020-01-02"), again, policy=policy) == HoldReason.ACCOUNT_COOLING_OFF


# Structure and check digits


@pytest.mark.parametrize("iban", GOOD.split())
def test_a_registered_iban_is_valid(iban):
    assert is_valid(account_of({"scheme": "iban", "iban": iban}))


@pytest.mark.parametrize("iban", [*BAD.split(), "", "DK", "DK50", "💶" * 18, "DK5000400440116243:1"])
def test_a_wrong_iban_is_invalid(iban):
    assert not is_valid(account_of({"scheme": "iban", "iban": iban}))


@given(st.sampled_from(GOOD.split()), st.data())
def test_any_changed_digit_of_an_iban_is_caught(iban, data):
    place = data.draw(st.sampled_from([index for index, letter in enumerate(iban) if letter.isdigit()]))
    digit = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != iban[place]]))
    assert not is_valid(account_of({"scheme": "iban", "iban": iban[:place] + digit + iban[place + 1 :]}))


@pytest.mark.parametrize(
    ("routing", "valid"), [("121000358", True), ("111000025", True), ("021000021", True), ("123456789", False), ("02100002", False), ("02100002１", False)]
)
def test_a_routing_number_has_nine_digits_and_a_check_digit(routing, valid):
    assert is_valid(account_of(us(routing=routing))) == valid


@given(st.integers(0, 99_999_999), st.integers(0, 8), st.integers(1, 9))
def test_any_changed_digit_of_a_routing_number_is_caught(front, place, step):
    digits = f"{front:08d}"
    good = [digits + check for check in "0123456789" if is_routing_number(digits + check)]
    assert len(good) == 1
    changed = str((int(good[0][place]) + step) % 10)
    assert not is_routing_number(good[0][:place] + changed + good[0][place + 1 :])


@pytest.mark.parametrize(
    ("account", "valid"),
    [
        (dk("0040", "0440116243"), True), (dk("0001", "1"), True), (dk("9999", "9999999999"), True), (dk("40", "440116243"), False),
        (dk("0040", "04401162430"), False), (dk("0040", "44O116243"), False), (dk("0040", "４４0116243"), False), (dk("", ""), False),
        (us("1234"), True), (us("12345678901234567"), True), (us("123"), False), (us("123456789012345678"), False), (us("12-34"), False),
    ],
)  # fmt: skip
def test_a_national_account_has_the_digits_its_country_gives_it(account, valid):
    assert is_valid(account_of(account)) == valid


# An account as text


@pytest.mark.parametrize("fields", [us(), dk(), {"scheme": "iban", "iban": "DK5000400440116243"}])
def test_an_account_is_read_back_from_its_text_and_its_fields(fields):
    account = account_of(fields)
    assert parse_account(account.text()) == account
    assert account.fields() == fields


def test_an_account_is_the_same_however_it_is_spaced_or_written():
    iban = account_of({"scheme": "iban", "iban": "dk50 0040 0440 1162 43"})
    assert iban == Account("iban", ("DK5000400440116243",))
    assert iban.key() == account_of(dk()).key() == account_of(dk(number="440116243")).key()
    assert len({account_of(fields).key() for fields in (us(), us("123456780"), dk(), {"scheme": "iban", "iban": "FO6264600001631634"})}) == 4


def test_a_masked_account_shows_its_last_four_characters_and_none_of_a_short_one():
    assert account_of(dk()).masked() == "dk ••••6243"
    assert account_of(us("1234")).masked() == "us ••••"


@pytest.mark.parametrize("text", ["", "iban", "us:1", "gb:1:2", "iban:DK1:2"])
def test_a_text_that_is_no_account_is_refused_without_repeating_it(text):
    with pytest.raises(Malformed, match=f"a text of {len(text)} characters is no account"):
        parse_account(text)


def test_the_keys_of_a_subject_are_those_of_its_latest_accounts_that_are_not_closed():
    ordinary, special = assigned(2, us("2222")), assigned(1, dk(), benefit="us-eip1")
    keys = {account_of(us("2222")).key(), account_of(dk()).key()}
    assert account_keys([assigned(1, us("1111")), ordinary, special]) == keys
    assert account_keys([ordinary, special, assigned(3, us("2222"), "closed")]) == {account_of(dk()).key()}
    assert account_keys([]) == frozenset()


# Bank days and hold reasons


@pytest.mark.parametrize(
    ("calendar", "closed"),
    [
        ("DK", ["2022-05-26", "2022-05-27", "2022-06-05", "2022-12-24", "2022-12-31", "2023-05-05", "2023-06-05", "2022-04-14"]),
        ("US", ["2020-05-25", "2020-11-26", "2020-12-25", "2020-07-04"]),
        ("EU", ["2020-05-01", "2020-04-10", "2020-12-26"]),
        ("JP", ["2020-12-31", "2021-01-01", "2020-05-04"]),
        ("KR", ["2020-05-01", "2020-09-30"]),
    ],
)
def test_banks_are_closed_on_their_holidays_and_at_weekends(calendar, closed):
    assert [text for text in closed if is_bank_day(day(date.fromisoformat(text)), calendar)] == []
    assert not is_bank_day(day(date(2020, 6, 6)), calendar)
    assert is_bank_day(day(date(2020, 6, 9)), calendar)


def test_a_day_that_is_a_bank_day_again_is_one():
    assert is_bank_day(day(date(2024, 4, 26)), "DK")  # Great Prayer Day was abolished after 2023
    assert is_bank_day(day(date(2020, 7, 3)), "US")  # the Federal Reserve does not move a holiday that falls on a Saturday
    assert is_bank_day(day(date(2022, 5, 2)), "DK")


def test_bank_days_are_counted_over_weekends_and_holidays():
    assert day_date(bank_day_after(day(date(2020, 12, 23)), 5, "JP")) == date(2020, 12, 30)
    assert bank_day_after(TODAY, 0, "DK") == TODAY


def test_every_hold_reason_has_its_sentence_and_says_what_lifts_it():
    assert set(EXPLAINED) == set(HoldReason)
    for reason in HoldReason:
        assert reason.sentence.endswith(".")
        assert reason.lifted_by.endswith(".")
        assert reason.lifter in ("person", "registry", "bank_day", "case_worker", "finance", "policy_team")


def test_the_codes_of_the_hold_reasons_are_fixed():
    assert [reason.value for reason in HoldReason] == [
        "payee_unknown", "payee_deceased", "entitlement_undetermined", "benefit_suspended", "no_account", "account_disputed",
        "account_pending", "account_closed", "account_blocked", "account_not_valid_on_day", "account_cooling_off", "account_scheme_not_allowed",
        "account_invalid", "account_country_not_allowed", "account_currency_not_allowed", "holder_mismatch", "account_shared", "above_review_limit",
        "budget_exhausted",
    ]  # fmt: skip
