"""Registry documents, the decoder made from them, the refusals, and the JSON Schema."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from connectors.registries import load_registries
from pipeline.facts import FIRST_DAY, LAST_DAY, Known, day, day_date, encode_history
from pipeline.problems import Malformed
from pipeline.registry import Event, EventType, Field, Registries, event_schema, facts_page, load_registry
from pipeline.registry.fields import CORRECTION, MAX_MESSAGE_BYTES

DOCUMENTS = Path(__file__).resolve().parent.parent / "registries"
SHIPPED = ("us-irs", "residency", "accounts")
REGISTRIES = Registries([load_registry((DOCUMENTS / f"{name}.yaml").read_text(encoding="utf-8")) for name in SHIPPED])
TAX, PERSON, ACCOUNT = "registry.tax.assessment.v1", "registry.residency.person.v1", "registry.account.assignment.v1"
FORMATS = jsonschema.FormatChecker(formats=())
VALIDATOR = jsonschema.Draft202012Validator(event_schema(REGISTRIES), format_checker=FORMATS)


@FORMATS.checks("date", raises=ValueError)
def is_date(text):
    return not isinstance(text, str) or bool(date.fromisoformat(text))


@FORMATS.checks("date-time", raises=ValueError)
def is_time(text):
    return not isinstance(text, str) or bool(datetime.fromisoformat(text[:19]))


def assessment(**changes):
    data = {
        "year": 2019, "status": "final", "filing_status": "married_joint", "children_under_17": 2, "agi": {"minor": 8119486, "currency": "USD"},
    }  # fmt: skip
    message = {
        "specversion": "1.0", "id": "irs-2020-000017-0", "source": "urn:registry:tax:us", "type": TAX, "subject": "us-000017",
        "time": "2020-03-27T09:00:00Z", "sequence": "41", "data": data,
    }  # fmt: skip
    for name, value in changes.items():
        holder = data if name in ("year", "status", "filing_status", "children_under_17", "agi", "claimed_as_dependent") else message
        if value is None:
            del holder[name]
        else:
            holder[name] = value
    return message


def person(**data):
    return {**assessment(), "source": "urn:registry:residency", "type": PERSON, "data": data}


def assignment(**data):
    given = {"account": {"scheme": "us", "routing": "021000021", "number": "123456789"}, "status": "active", **data}
    return {**assessment(), "source": "urn:registry:account", "type": ACCOUNT, "data": given}


def written(message):
    return json.dumps(message, separators=(",", ":")).encode()


def decoded(message) -> Event:
    return REGISTRIES.decode(message if isinstance(message, bytes) else written(message))


def refusals(message, registries=REGISTRIES):
    with pytest.raises(Malformed) as caught:
        registries.decode(message if isinstance(message, bytes) else written(message))
    return {problem.place: problem.message for problem in caught.value.problems}


# What is kept of an accepted message


def test_an_assessment_is_kept_as_facts_for_its_calendar_year():
    event = decoded(assessment())
    known = event.known
    assert event.subject == "us-000017"
    assert (known.sequence, known.id, known.registry, known.type, known.status) == (41, "irs-2020-000017-0", "us-irs", TAX, "final")
    assert (day_date(known.valid_from), day_date(known.valid_to)) == (date(2019, 1, 1), date(2020, 1, 1))
    assert known.time_ms == datetime(2020, 3, 27, 9, tzinfo=UTC).timestamp() * 1000
    assert known.values == {"tax.agi": 8119486, "tax.children_under_17": 2, "tax.claimed_as_dependent": False, "tax.filing_status": "married_joint"}


def test_a_field_that_is_absent_stays_unknown_unless_the_document_says_what_its_absence_means():
    assert "tax.agi" not in decoded(assessment(agi=None)).known.values
    assert decoded(assessment()).known.values["tax.claimed_as_dependent"] is False
    assert decoded(assessment(claimed_as_dependent=True)).known.values["tax.claimed_as_dependent"] is True


def test_a_person_event_holds_for_the_days_it_names_or_for_ever():
    known = decoded(person(birth_date="1980-02-03", resident=True)).known
    assert (known.valid_from, known.valid_to, known.status) == (FIRST_DAY, LAST_DAY, "final")
    assert known.values == {"residency.birth_date": day(date(1980, 2, 3)), "residency.resident": True}
    known = decoded(person(resident=False, valid_from="2020-01-01", valid_to="2020-06-01")).known
    assert (day_date(known.valid_from), day_date(known.valid_to)) == (date(2020, 1, 1), date(2020, 6, 1))


def test_an_account_is_kept_with_the_fields_of_its_scheme_and_not_offered_to_rules():
    known = decoded(assignment(benefit="us-eip1", holder="match")).known
    assert known.values == {
        "account.scheme": "us", "account.routing": "021000021", "account.number": "123456789",
        "account.status": "active", "account.benefit": "us-eip1", "account.holder": "match",
    }  # fmt: skip
    assert not [name for name in REGISTRIES.catalogue if name.startswith("account.")]


def test_every_registry_may_withdraw_its_own_events():
    for source, registry in (("urn:registry:tax:us", "us-irs"), ("urn:registry:residency", "residency"), ("urn:registry:account", "accounts")):
        known = decoded({**assessment(id="c-1", source=source, type=CORRECTION), "data": {"withdraws": "irs-1", "reason": "typing error"}}).known
        assert (known.registry, known.withdraws, known.values) == (registry, "irs-1", {})


def test_the_catalogue_names_types_units_and_ranges_of_the_facts():
    agi, alive, birth = (REGISTRIES.catalogue[name] for name in ("tax.agi", "residency.alive", "residency.birth_date"))
    assert (agi.type, agi.currency, agi.range, agi.registry, agi.event_type) == ("money", "USD", (-(10**12), 10**12), "us-irs", TAX)
    assert (alive.type, alive.until, alive.registry) == ("yes_no", "residency.death_date", "residency")
    assert (birth.timeless, REGISTRIES.catalogue["residency.resident"].timeless) == (True, False)
    assert not {"tax.year", "tax.status"} & set(REGISTRIES.catalogue)


def test_a_sequence_counts_as_a_number_and_is_zero_where_it_is_absent():
    assert decoded(assessment(sequence="0041")).known.sequence == 41
    assert decoded(assessment(sequence=None)).known.sequence == 0


@pytest.mark.parametrize("time", ["2020-03-27T09:00:00.250Z", "2020-03-27T10:00:00.25+01:00", "2020-03-27t08:00:00.250-0100"])
def test_a_time_is_the_same_instant_whatever_its_offset(time):
    moment = decoded(assessment(time=time)).known
    assert moment.time_ms == 1585299600250
    assert moment == decoded(assessment(time="2020-03-27T09:00:00.25Z")).known


# What makes two messages the same


def test_what_is_kept_does_not_depend_on_how_the_message_is_written():
    message = assessment()
    kept = decoded(message)
    turned = dict(reversed(message.items())) | {"data": dict(reversed(message["data"].items()))}
    escaped = written(message).replace(b"final", b"fin\\u0061l")
    spaced = json.dumps(turned, indent=3).encode()
    assert [decoded(other) for other in (written(turned), escaped, spaced)] == [kept] * 3
    assert len({encode_history((decoded(other).known,)) for other in (written(turned), escaped, spaced)}) == 1


def test_what_is_kept_covers_the_content_and_not_the_transport():
    kept = decoded(assessment())
    assert decoded(assessment(traceparent="00-1-2-01", datacontenttype="application/json")) == kept
    for change in (
        {"agi": {"minor": 8119487, "currency": "USD"}},
        {"sequence": "42"},
        {"subject": "us-000018"},
        {"status": "estimated"},
        {"time": "2020-03-27T09:00:01Z"},
    ):
        assert decoded(assessment(**change)) != kept


def test_saying_what_absence_means_is_saying_the_same():
    assert decoded(assessment(claimed_as_dependent=False)) == decoded(assessment())


# Refusals


def test_all_problems_of_a_message_come_at_once():
    message = assessment(sequence=41, year=1066, filing_status="maried_joint", agi={"minor": 10**13, "currency": "DKK"}, time="yesterday", subject="")
    message["data"]["childrn_under_17"] = message["data"].pop("children_under_17")
    found = refusals(message)
    assert found["sequence"] == "41 is not a text of 1 to 18 digits"
    assert found["data.year"] == "1066 is outside the range 1990 to 2100"
    assert found["data.filing_status"].endswith(", did you mean 'married_joint'?")
    assert found["data.agi.currency"] == "must be USD, is 'DKK'"
    assert found["data.agi.minor"] == "10000000000000 is outside the range -1000000000000 to 1000000000000 minor units of USD"
    assert found["data"] == "unknown field 'childrn_under_17', did you mean 'children_under_17'?"
    assert "'yesterday' is not a time" in found["time"]
    assert found["subject"] == "has 0 characters, 1 to 64 are allowed"
    assert len(found) == 8


@pytest.mark.parametrize(
    ("message", "place", "words"),
    [
        (b"\x00\x01\x02", "", "not JSON at byte 0"),
        (b"\xff\xfe", "", "not UTF-8 at byte 0: 0xff"),
        (b"", "", "not JSON at byte 0"),
        (b"\xef\xbb\xbf{}", "", "not JSON at byte 0"),
        ('{"id": "é"'.encode(), "", "not JSON at byte 11"),
        (b"[]", "", "the message is a list, not an object"),
        (b"17", "", "the message is a whole number, not an object"),
        (b"[" * 200_000, "", "nested too deep"),
        (b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "", "nested too deep"),
        (written(assessment()).replace(b"2019", b"NaN"), "", "NaN is no JSON number"),
        (written(assessment()).replace(b"2019", b"9" * 5000), "data.year", "outside the range"),
        (written(assessment()).replace(b"2019", b"2019.5"), "data.year", "must be a whole number, is 2019.5"),
        (written(assessment()).replace(b"us-000017", b"us-\\ud800"), "", "half of a surrogate pair"),
        (written(assessment()).replace(b"us-000017", b"us-\\u0000"), "subject", "control characters"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "", "the message is 1,048,577 bytes, the limit is 1,048,576"),
        (assessment(specversion="0.3"), "specversion", "must be '1.0', is '0.3'"),
        (assessment(specversion=None), "specversion", "is missing"),
        (assessment(id=None), "id", "is missing"),
        (assessment(id="x" * 129), "id", "has 129 characters, 1 to 128 are allowed"),
        (assessment(subject="us 17"), "subject", "blanks"),
        (assessment(subject="søren"), "subject", "letters beyond ASCII"),
        (assessment(type="registry.tax.assesment.v1"), "type", "did you mean 'registry.tax.assessment.v1'?"),
        (assessment(type=None), "type", "is missing"),
        (assessment(source="urn:registry:residency"), "source", "'urn:registry:residency' is not a source of this event type"),
        (assessment(source=None), "source", "is missing"),
        (assessment(time="2020-02-30T09:00:00Z"), "time", "'2020-02-30T09:00:00Z' does not exist"),
        (assessment(time="2020-03-27T09:00:00"), "time", "is not a time with its offset"),
        (assessment(time="1066-03-27T09:00:00Z"), "time", "in the years 1900 to 2999"),
        (assessment(sequence="-1"), "sequence", "'-1' is not a text"),
        (assessment(sequence="٤١"), "sequence", "is not a text"),
        (assessment(sequence="1" * 19), "sequence", "is not a text"),
        (assessment(seqence="1"), "", "unknown field 'seqence', did you mean 'sequence'?"),
        (assessment(datacontenttype="text/xml"), "datacontenttype", "'text/xml' is not read here"),
        (assessment(year=None), "data.year", "is missing"),
        (assessment(agi=17), "data.agi", "must be money, is 17"),
        (assessment(agi={"minor": 17}), "data.agi.currency", "is missing"),
        (assessment(agi={"minor": True, "currency": "USD"}), "data.agi.minor", "must be a whole number of minor units, is True"),
        (assessment(agi={"minor": 1, "currency": "USD", "note": ""}), "data.agi", "unknown field 'note'"),
        (assessment(claimed_as_dependent="no"), "data.claimed_as_dependent", "must be true or false, is 'no'"),
        (assessment(data=None), "data", "is missing"),
        (assessment(data=[]), "data", "must be an object, is a list"),
        (person(birth_date="1980-02-30"), "data.birth_date", "there is no day '1980-02-30'"),
        (person(birth_date="30.02.1980"), "data.birth_date", "is not a date"),
        (person(birth_date="1080-02-01"), "data.birth_date", "1080-02-01 is outside the range 1850-01-01 to 2100-12-31"),
        (person(valid_from="2020-06-01", valid_to="2020-06-01"), "data.valid_to", "from 2020-06-01 to 2020-06-01 there is no day"),
        (person(municipality="a\nb"), "data.municipality", "control characters or line breaks"),
        (person(municipality=""), "data.municipality", "has 0 characters"),
        (person(resident=None), "data.resident", "must be true or false, is None"),
        (assignment(account={"scheme": "iban"}), "data.account.iban", "is missing"),
        (assignment(account={"scheme": "dk", "registration": "0040", "number": "1", "routing": "1"}), "data.account.routing", "does not belong where"),
        (assignment(account={"scheme": "gb"}), "data.account.scheme", "'gb' is none of iban, dk, us"),
        (assignment(account="DK5000400440116243"), "data.account", "must be an object"),
        ({**assessment(type=CORRECTION), "data": {}}, "data.withdraws", "is missing"),
        ({**assessment(type=CORRECTION, id="a"), "data": {"withdraws": "a"}}, "data.withdraws", "'a' is this event itself"),
    ],
)  # fmt: skip
def test_a_message_that_breaks_the_contract_is_refused_with_its_place_and_value(message, place, words):
    found = refusals(message)
    assert words in found[place]


def test_an_account_number_never_stands_in_a_problem():
    for account in ({"scheme": "iban", "iban": ["DK5000400440116243"]}, {"scheme": "us", "routing": "021000021", "number": 440116243}):
        with pytest.raises(Malformed) as caught:
            decoded(assignment(account=account))
        assert "440116243" not in str(caught.value)


@pytest.mark.parametrize("pair", ['"people":4,"people":4', '"people":4,"people":5', '"people":4 , "peopl\\u0065":4', '"year":2019,"people":4'])
def test_a_key_that_stands_twice_is_refused_even_with_the_same_value(pair):
    raw = written(assessment()).replace(b'"year"', pair.encode() + b',"year"')
    assert "stands twice in one object" in refusals(raw)[""]


def test_a_long_message_of_problems_names_the_first_ones_and_counts_the_rest():
    message = assessment()
    message["data"] |= {f"x{number}": 1 for number in range(500)}
    with pytest.raises(Malformed) as caught:
        decoded(message)
    assert len(caught.value.problems) == 51
    assert caught.value.problems[-1].message == "and 450 problems more"


# Laws


def text_values(field: Field):
    return st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20)


def values_of(field: Field):
    low, high = field.range or (0, 0)
    match field.type:
        case "money":
            return st.builds(lambda minor: {"minor": minor, "currency": field.currency}, st.integers(low, high))
        case "number":
            return st.integers(low, high)
        case "yes_no":
            return st.booleans()
        case "date":
            first, last = (day_date(low), day_date(high)) if field.range else (date(1, 1, 1), date(9999, 12, 30))
            return st.dates(first, last).map(date.isoformat)
        case "one_of":
            return st.sampled_from(field.one_of)
        case "id":
            return st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)
        case _:
            return text_values(field)


@st.composite
def good_data(draw, event: EventType):
    data = {}
    for field in sorted(event.fields, key=lambda field: field.when is not None):
        holder = data if len(field.path) == 1 else data.setdefault(field.path[0], {})
        if field.when is not None:
            stands = holder[field.when[0]] in field.when[1] and (field.required or draw(st.booleans()))
        else:
            stands = field.required or draw(st.booleans())
        if stands:
            holder[field.path[-1]] = draw(values_of(field))
    first, end = data.get(event.valid_from), data.get(event.valid_to)
    assume((first or "0001-01-01") < (end or "9999-12-31"))
    return data


@st.composite
def good_messages(draw):
    registry = draw(st.sampled_from(REGISTRIES.registries))
    event = draw(st.sampled_from(registry.event_types()))
    codes = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
    times = st.datetimes(datetime(1901, 1, 1), datetime(2998, 1, 1), timezones=st.sampled_from([UTC]))  # noqa: DTZ001 - hypothesis adds the zone
    message = {
        "specversion": "1.0", "id": draw(codes), "source": registry.source, "type": event.name, "subject": draw(codes),
        "time": draw(times).isoformat(), "data": draw(good_data(event)),
    }  # fmt: skip
    if draw(st.booleans()):
        message["sequence"] = str(draw(st.integers(0, 10**18 - 1)))
    if draw(st.booleans()):
        message["traceparent"] = draw(codes)
    assume(message["data"].get("withdraws") != message["id"])
    return message


def verdict(raw: bytes) -> str:
    """accepted, refused, or refused without a proper explanation."""
    try:
        event = REGISTRIES.decode(raw)
    except Malformed as malformed:
        explained = malformed.problems and not [problem for problem in malformed.problems if problem.message.startswith("the message is refused:")]
        return "refused" if explained else "unexplained"
    return "accepted" if isinstance(event.known, Known) else "not an event"


@given(good_messages(), st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"sort_keys": True, "separators": (",", ":")}]))
def test_what_the_documents_allow_is_accepted_and_valid_against_the_schema(message, style):
    event = decoded(json.dumps(message, **style).encode())
    assert event == decoded(message)
    VALIDATOR.validate(message)
    stated = {key for key in msgspec.json.decode(written(message["data"])) if key not in ("year", "account")}
    assert len(event.known.values) >= len(stated - {"valid_from", "valid_to", "status", "withdraws", "reason"})


ODDITIES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([0.5, 1e300, -0.25]), st.text(max_size=8), st.just([]), st.just({}),
    st.sampled_from(["2020-02-30", "2019-12-31", "1", "final", "iban", "us", "x" * 300, "\x00", "a b", "\u2028"]),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def odd_messages(draw):
    """A good message with one place of it replaced, removed or added."""
    message = draw(good_messages())
    holder = message
    while draw(st.booleans()):
        inner = [value for value in holder.values() if isinstance(value, dict) and value]
        if not inner:
            break
        holder = draw(st.sampled_from(inner))
    key = draw(st.sampled_from([*holder, "year", "scheme", "iban", "sequence", "note", "datacontenttype"]))
    if key in holder and draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = draw(ODDITIES)
    return message


def beyond_the_schema(message) -> bool:
    """What a JSON Schema cannot say: ranges of dates, an interval without a day, an event that withdraws itself."""
    data = message["data"]
    if data.get("withdraws") == message["id"] or (data.get("valid_from") or "0001-01-01") >= (data.get("valid_to") or "9999-12-31"):
        return True
    return any(name in data and not "1850-01-01" <= data[name] <= "2100-12-31" for name in ("birth_date", "death_date"))


@given(odd_messages())
def test_the_decoder_accepts_exactly_what_the_schema_allows(message):
    allowed = VALIDATOR.is_valid(message) and not beyond_the_schema(message)
    assert verdict(json.dumps(message).encode()) == ("accepted" if allowed else "refused")


@given(good_messages(), st.data())
def test_a_doubled_key_is_refused_wherever_it_stands(message, data):
    raw = json.dumps(message, separators=data.draw(st.sampled_from([(",", ":"), (", ", ": ")]))).encode()
    keys = [found.start() for found in re.finditer(rb'(?<=[{,])"(?=[a-z])|(?<=, )"(?=[a-z])', raw)]
    place = data.draw(st.sampled_from(keys))
    pair = raw[place:]
    key = re.match(rb'"[a-z_0-9]+": ?', pair)
    assume(key is not None)
    value, _ = json.JSONDecoder().raw_decode(pair[key.end() :].decode())
    doubled = raw[:place] + key[0] + written(value) + b"," + pair
    assert verdict(doubled) == "refused"


@given(st.lists(st.one_of(good_messages(), odd_messages()).map(lambda message: json.dumps(message).encode()), max_size=6), st.data())
def test_messages_read_together_come_out_as_each_by_itself(raws, data):
    known = Registries(REGISTRIES.registries)
    if raws and data.draw(st.booleans()):
        known.decode_frame([raws[0]])  # so that a reader is at hand from the first message on
    alone = [known.decode_frame([raw])[0] for raw in raws]
    together = known.decode_frame(raws)
    assert [told.problems if isinstance(told, Malformed) else told for told in together] == [
        told.problems if isinstance(told, Malformed) else told for told in alone
    ]


@given(st.binary(max_size=400))
@example(b'{"a":"\\uD800"}')
@example(b"1e999")
@example(b'{"data":{"year":-0}}')
def test_bytes_of_any_kind_are_refused_and_never_crash(raw):
    assert verdict(raw) == "refused"


@given(good_messages(), st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4))
def test_a_damaged_message_is_refused_or_read_and_never_crashes(message, damages):
    raw = written(message)
    for place, inserted, removed in damages:
        place %= len(raw) + 1
        raw = raw[:place] + inserted + raw[place + removed :]
    assert verdict(raw) in ("accepted", "refused")


# Documents


def document(**changes):
    lines = {
        "format": "registry/1", "name": "sample", "title": "Sample", "source": "urn:sample", "owner": "me", "topic": "registry.sample", "facts": "sample",
        "events": "\n  registry.sample.thing.v1:\n    meaning: A thing.\n    fields:\n      size: {type: number, meaning: Size.}\n",
    }  # fmt: skip
    lines |= {name: value for name, value in changes.items() if name != "field"}
    if "field" in changes:
        lines["events"] = f"\n  registry.sample.thing.v1:\n    meaning: A thing.\n    fields:\n      size: {changes['field']}\n"
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (document(format="registry/2"), "format: 'registry/2' is not a format read here (line 1, column 9). Write registry/1."),
        (document(nmae="x"), "nmae: unknown key 'nmae', did you mean 'name'? (line 14, column 1)"),
        (document(name="Bad Name"), "name: 'Bad Name' does not have the form [a-z][a-z0-9-]* (line 2, column 7)"),
        (document(field="{type: nmber, meaning: Size.}"), "events.registry.sample.thing.v1.fields.size.type: 'nmber' is none of money, number"),
        (document(field="{type: number}"), "events.registry.sample.thing.v1.fields.size: the key 'meaning' is missing (line 12, column 13)"),
        (document(field="{type: money, meaning: M}"), "money needs a known currency, '' is none"),
        (document(field="{type: one_of, meaning: M}"), "the type one_of and a list one_of belong together"),
        (document(field="{type: number, range: 9..1, meaning: M}"), "'9..1' is no range"),
        (document(field="{type: number, range: a..b, meaning: M}"), "fields.size.range: 'a' is not a whole number (line 12, column 35)"),
        (document(field="{type: number, range: 0..5, absent_means: 7, meaning: M}"), "fields.size.absent_means: '7' is outside the range"),
        (
            document(field="{type: number, required: yes, absent_means: 7, meaning: M}"),
            "only an optional, unconditional fact can mean something by its absence",
        ),
        (document(field="{type: number, required: maybe, meaning: M}"), "'maybe' is none of yes, no"),
        (document(field="{type: text, when: {kind: [a]}, meaning: M}"), "'kind' is no required field of type one_of beside 'size'"),
        (document(derived="{alive: {until: death, meaning: M}}"), "derived.alive.until: there is no date fact 'sample.death'"),
        (document(events="[]"), "events: must be a mapping of keys to values (line 8, column 9)"),
        (document(events="{registry.correction.v1: {meaning: M, fields: {}}}"), "'registry.correction.v1' cannot be declared"),
        (document(unknown_fields="drop"), "'drop' is none of refuse, ignore"),
        (document(source="17"), "source: '17' does not have the form"),
        ("- a\n", "must be a mapping of keys to values (line 1, column 1)"),
    ],
)
def test_a_mistake_in_a_document_is_named_with_its_line(text, problem):
    with pytest.raises(Malformed) as caught:
        load_registry(text)
    assert problem in str(caught.value)


def test_a_document_with_many_mistakes_names_all_of_them():
    with pytest.raises(Malformed) as caught:
        load_registry(document(format="x", name="A", source="b", topic="c", field="{type: d}"))
    assert len(caught.value.problems) == 6


def test_two_registries_may_not_share_a_name_a_source_or_a_fact():
    one = load_registry(document())
    for other, words in (
        (document(), "two registry documents are named 'sample'"),
        (document(name="other", facts="other"), "the source 'urn:sample' is the registry 'sample' already"),
        (document(name="other", source="urn:other"), "the fact 'sample.size' is told by 'sample' already"),
    ):
        with pytest.raises(Malformed, match=words):
            Registries([one, load_registry(other)])


def test_two_registries_may_send_the_same_event_type_each_in_its_own_form():
    both = Registries([load_registry(document()), load_registry(document(name="other", source="urn:other", facts="other", field="{type: text, meaning: S}"))])
    message = {**assessment(type="registry.sample.thing.v1", source="urn:sample"), "data": {"size": 3}}
    assert both.decode(written(message)).known.values == {"sample.size": 3}
    assert both.decode(written({**message, "source": "urn:other", "data": {"size": "big"}})).known.values == {"other.size": "big"}
    assert "must be text" in refusals({**message, "source": "urn:other"}, both)["data.size"]
    schema = jsonschema.Draft202012Validator(event_schema(both, "registry.sample.thing.v1"))
    assert [schema.is_valid(sent) for sent in (message, {**message, "source": "urn:other"})] == [True, False]


def test_a_registry_may_have_its_unknown_fields_ignored():
    loose = Registries([load_registry(document(unknown_fields="ignore"))])
    message = {**assessment(type="registry.sample.thing.v1", source="urn:sample"), "data": {"size": 3}}
    wider = {**message, "data": {"size": 3, "colour": {"a": [1]}}}
    assert loose.decode(written(wider)) == loose.decode(written(message))
    assert jsonschema.Draft202012Validator(event_schema(loose)).is_valid(wider)
    assert "must be a whole number" in refusals({**wider, "data": {"size": "x", "colour": 1}}, loose)["data.size"]
    assert "stands twice" in refusals(written(wider).replace(b'"size":3', b'"size":3,"size":3'), loose)[""]


def test_the_schema_of_an_unknown_type_is_refused_with_the_nearest_one():
    with pytest.raises(Malformed, match="did you mean 'registry.tax.assessment.v1'"):
        event_schema(REGISTRIES, "registry.tax.assessment.v2")
    jsonschema.Draft202012Validator.check_schema(event_schema(REGISTRIES))


def test_a_directory_of_documents_is_read_whole_and_its_problems_name_the_file(tmp_path):
    assert set(SHIPPED) <= {registry.name for registry in load_registries(DOCUMENTS).registries}
    with pytest.raises(Malformed, match="holds no registry documents"):
        load_registries(tmp_path)
    (tmp_path / "a.yaml").write_text(document(format="x"), encoding="utf-8")
    (tmp_path / "b.yaml").write_bytes(b"\xff")
    with pytest.raises(Malformed) as caught:
        load_registries(tmp_path)
    assert [problem.place for problem in caught.value.problems] == ["a.yaml: format", "b.yaml"]


# Pages


def test_the_document_in_the_documentation_loads_and_its_message_is_read():
    page = (DOCUMENTS.parent / "docs" / "registries.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    energy = Registries([load_registry(text)])
    data = {
        "year": 2022,
        "status": "final",
        "source": "oil",
        "cost": {"minor": 5, "currency": "DKK"},
        "dwelling": {"floor_area": 80},
        "torn_down": "2022-05-01",
    }
    message = {**assessment(type="registry.energy.heating.v1", source="urn:registry:energy"), "data": data}
    known = energy.decode(written(message)).known
    assert known.values == {
        "energy.source": "oil", "energy.cost": 5, "energy.subsidised": False, "energy.floor_area": 80, "energy.torn_down": day(date(2022, 5, 1)),
    }  # fmt: skip
    assert energy.catalogue["energy.in_use"].until == "energy.torn_down"
    del data["dwelling"]
    assert "energy.floor_area" not in energy.decode(written(message)).known.values


def test_the_page_of_facts_is_what_the_documents_say_now():
    page = (DOCUMENTS.parent / "docs" / "facts.md").read_text(encoding="utf-8")
    assert page == facts_page(load_registries(DOCUMENTS)), "write docs/facts.md anew from the documents in registries/"
