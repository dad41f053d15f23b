"""Tokens are kept for most of their life, replaced before they expire, and asked for once however many ask; no broker is needed to see it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka_security import CLIENT, SECRET, TokenEndpoint, token_endpoint

from connectors.kafka_cluster import KafkaAway
from connectors.kafka_tokens import NoToken, Tokens


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def tokens(endpoint: TokenEndpoint, clock: Clock, secret: str = SECRET, scope: str = "") -> Tokens:
    return Tokens(endpoint.url, CLIENT, secret, scope, None, clock)


def test_a_token_is_kept_for_four_fifths_of_its_life():
    clock = Clock()
    with token_endpoint(life_s=100) as endpoint:
        of = tokens(endpoint, clock)
        first = of.token()
        clock.now_s = 79.9
        assert (of.token(), endpoint.given) == (first, 1)
        clock.now_s = 80.1
        of.token()
        assert endpoint.given == 2


def test_while_the_endpoint_is_away_a_token_is_used_to_its_end_and_then_it_is_said():
    clock = Clock()
    with token_endpoint(life_s=100) as endpoint:
        of = tokens(endpoint, clock)
        first = of.token()
    clock.now_s = 99
    assert of.token() == first
    clock.now_s = 100
    with pytest.raises(NoToken, match=f"no token from {endpoint.url}: .*refused"):
        of.token()


def test_many_that_ask_at_once_get_one_token():
    with token_endpoint() as endpoint, ThreadPoolExecutor(8) as threads:
        of = tokens(endpoint, Clock())
        assert len(set(threads.map(lambda _: of.token(), range(32)))) == 1
        assert endpoint.given == 1


def test_a_scope_is_asked_for_where_one_is_set():
    with token_endpoint() as endpoint:
        tokens(endpoint, Clock(), scope="kafka payments").token()
        assert endpoint.scopes == {"kafka payments"}


def test_a_refusal_tells_its_code_and_neither_id_nor_secret():
    with token_endpoint() as endpoint, pytest.raises(KafkaAway) as refused:
        tokens(endpoint, Clock(), secret="guessed").token()
    assert str(refused.value) == f"no token from {endpoint.url}: it answered 401 (invalid_client)"


@pytest.mark.parametrize("document", [{}, {"access_token": 7}, {"access_token": ""}, {"access_token": "a\nb"}, {"access_token": "a", "expires_in": "soon"}, []])
def test_an_answer_that_holds_no_token_is_told(document: object):
    with token_endpoint() as endpoint:
        endpoint.says = document
        with pytest.raises(NoToken, match=f"no token from {endpoint.url}: "):
            tokens(endpoint, Clock()).token()
