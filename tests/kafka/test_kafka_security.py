"""A broker that lets nobody in without a certificate, a password or a token: whoever has one works as on an open one, whoever has not is told why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from kafka_security import CLIENT, PASSWORD, SECRET, Authority, Secured, token_endpoint
from kafka_town import Town, everybody, undisturbed_run, until
from town import quiet_afterwards as quiet_afterwards

from streams.audit import Digest
from streams.cli import main

PEOPLE = 30
Run = Callable[..., "Ran"]


class Ran:
    """What a command ended with and said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(town: Town, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet_afterwards: None) -> Run:
    """Runs a command in the town, let in as the settings say."""

    def run(settings: Mapping[str, str], *arguments: str) -> Ran:
        with monkeypatch.context() as patched:
            for name, value in {**town.environment, **settings}.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main([*arguments])
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digest]:
    """What the embedded run comes to."""
    with undisturbed_run(tmp_path_factory.mktemp("undisturbed") / "home", everybody(PEOPLE)) as digest:
        yield digest


def works(town: Town, run: Run, settings: Mapping[str, str], folder: Path, undisturbed: Digest) -> None:
    """Topics are made, events put and taken, orders published and the ends read, all as the settings say."""
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(record.value for record in everybody(PEOPLE)))
    made = run(settings, "kafka", "provision")
    assert made.code == 0, made.err
    put = run(settings, "events", "put", str(file), "--json")
    assert put.code == 0, put.err
    assert json.loads(put.out)["accepted"] == 3 * PEOPLE
    worker = town.worker(**settings)
    town.await_taken()
    assert worker.stop() == 0
    assert len(set(town.published_orders())) == PEOPLE
    assert town.story.digest() == undisturbed
    audited = run(settings, "audit", "--json")
    assert (audited.code, json.loads(audited.out)["ok"]) == (0, True)


def test_a_client_with_a_certificate_works_over_tls(town: Town, run: Run, secured: Secured, tmp_path: Path, undisturbed: Digest):
    works(town, run, secured.over_tls(), tmp_path, undisturbed)


def test_a_client_with_a_password_works_over_scram(town: Town, run: Run, secured: Secured, tmp_path: Path, undisturbed: Digest):
    works(town, run, secured.over_scram(), tmp_path, undisturbed)


def test_a_client_with_tokens_works_and_has_a_new_one_before_the_old_expires(town: Town, run: Run, secured: Secured, tmp_path: Path, undisturbed: Digest):
    with token_endpoint(life_s=5) as endpoint:
        works(town, run, secured.over_tokens(endpoint.url), tmp_path, undisturbed)
        assert endpoint.given > 1
        assert endpoint.scopes == {"kafka"}


@pytest.mark.soak
def test_sessions_that_end_with_their_tokens_cost_connections_and_nothing_else(town: Town, secured: Secured, undisturbed: Digest):
    town.provision()
    records = everybody(PEOPLE)
    with token_endpoint(life_s=8) as endpoint:
        worker = town.worker(**secured.over_tokens(endpoint.url))
        for start in range(0, len(records), 30):
            given = endpoint.given
            town.tell(records[start : start + 30])
            town.await_taken()
            until(lambda given=given: endpoint.given > given + 1, "connections are made anew with new tokens")  # type: ignore[misc]
        assert worker.stop() == 0
    assert worker.said("shards claimed") == 1
    assert town.story.digest() == undisturbed


def test_a_client_whose_password_is_wrong_is_told_so(run: Run, secured: Secured):
    ended = run(secured.over_scram("guessed"), "kafka", "provision", "--check")
    assert ended.code == 3
    assert f"payout: Kafka at {secured.sasl}: " in ended.err
    assert "invalid credentials" in ended.err
    assert "guessed" not in ended.err


def test_a_client_that_does_not_know_the_servers_authority_is_told_so(run: Run, secured: Secured, tmp_path: Path):
    other = Authority(tmp_path / "other", "somebody else").ca_file
    ended = run(secured.over_scram() | {"PAYOUT_KAFKA__CA_FILE": str(other)}, "kafka", "provision", "--check")
    assert ended.code == 3
    assert "certificate verify failed" in ended.err


@pytest.mark.soak
def test_a_client_without_the_certificate_that_is_asked_for_is_told_so(run: Run, secured: Secured):
    settings = {name: value for name, value in secured.over_tls().items() if not name.endswith(("CERT_FILE", "KEY_FILE"))}
    ended = run(settings, "kafka", "provision", "--check")
    assert ended.code == 3
    assert f"payout: Kafka at {secured.mutual}: " in ended.err
    assert "certificate required" in ended.err


def test_a_client_to_whom_no_token_is_given_is_told_so(run: Run, secured: Secured):
    with token_endpoint() as endpoint:
        ended = run(secured.over_tokens(endpoint.url, "guessed"), "kafka", "provision", "--check")
    assert (ended.code, ended.err) == (3, f"payout: no token from {endpoint.url}: it answered 401 (invalid_client)\n")
    away = run(secured.over_tokens(endpoint.url), "kafka", "provision", "--check")
    assert away.code == 3
    assert away.err.startswith(f"payout: no token from {endpoint.url}: ")
    assert SECRET not in away.err


@pytest.mark.soak
def test_a_plain_client_at_a_secured_listener_is_told_that_nothing_answers_it(run: Run, secured: Secured):
    ended = run({"PAYOUT_KAFKA__SERVERS": secured.sasl}, "kafka", "provision", "--check")
    assert ended.code == 3
    assert f"payout: Kafka at {secured.sasl}: " in ended.err


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"PAYOUT_KAFKA__SECURITY": "sasl_ssl"}, "kafka.password: nothing is set"),
        ({"PAYOUT_KAFKA__SECURITY": "sasl_ssl"}, "kafka.username: nothing is set"),
        ({"PAYOUT_KAFKA__SECURITY": "sasl_ssl", "PAYOUT_KAFKA__SASL_MECHANISM": "OAUTHBEARER"}, "kafka.token_url: nothing is set"),
        ({"PAYOUT_KAFKA__SECURITY": "sasl_ssl", "PAYOUT_KAFKA__PASSWORD_FILE": "/nowhere"}, "kafka.password_file: /nowhere cannot be read"),
        ({"PAYOUT_KAFKA__TOKEN_URL": "http://tokens.example.org/"}, "kafka.token_url: 'http://tokens.example.org/': a secret is sent there"),
        ({"PAYOUT_KAFKA__SECURITY": "ssl", "PAYOUT_KAFKA__CA_FILE": "/nowhere"}, "kafka.ca_file: /nowhere cannot be used: No such file"),
        ({"PAYOUT_KAFKA__SECURITY": "ssl", "PAYOUT_KAFKA__CERT_FILE": "/nowhere"}, "kafka.cert_file: /nowhere cannot be used: No such file"),
    ],
)
def test_settings_that_let_nobody_in_are_named(run: Run, settings: dict[str, str], place: str):
    ended = run(settings, "kafka", "provision", "--check")
    assert ended.code == 2
    assert place in ended.err


def test_a_password_is_read_from_its_file(run: Run, secured: Secured, tmp_path: Path):
    settings = secured.over_scram()
    file = tmp_path / "password"
    file.write_text(f"{settings.pop('PAYOUT_KAFKA__PASSWORD')}\n")
    ended = run(settings | {"PAYOUT_KAFKA__PASSWORD_FILE": str(file)}, "kafka", "provision")
    assert ended.code == 0, ended.err


def test_secrets_are_shown_to_nobody(run: Run, secured: Secured):
    with token_endpoint() as endpoint:
        for settings in (secured.over_scram(), secured.over_tokens(endpoint.url)):
            shown = run(settings, "settings")
            assert CLIENT in shown.out or "payout" in shown.out
            assert not any(secret in shown.out + shown.err for secret in (PASSWORD, SECRET))
