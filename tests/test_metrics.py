"""The catalogue of metrics, and what a scrape of it shows."""

import re
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import observing
from pipeline.observing import CATALOGUE, METRIC, Metric, Recorder, Silent, report
from streams.metrics import Metrics

PERSON_DATA = {"subject", "person", "name", "account", "iban", "order", "event", "municipality", "household"}


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
class TestEveryMetric:
    def test_has_a_legal_name_with_the_prefix(self, metric: Metric):
        assert re.fullmatch(r"payout_[a-z][a-z0-9_]*", metric.name)

    def test_ends_in_total_exactly_if_it_is_a_counter(self, metric: Metric):
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.count("total") == (metric.kind == "counter")

    def test_names_its_unit(self, metric: Metric):
        assert ("_seconds" in metric.name) == metric.unit.startswith("seconds")
        assert ("_minor" in metric.name) == (metric.unit == "minor units")
        assert not re.search(r"_(ms|us|kb|mb|percent)(_|$)", metric.name)

    def test_answers_a_question_and_says_what_it_counts(self, metric: Metric):
        assert metric.question.endswith("?")
        assert metric.help.endswith(".")

    def test_holds_no_data_of_a_person_in_its_labels(self, metric: Metric):
        assert not set(metric.labels) & PERSON_DATA

    def test_closes_only_labels_that_it_has(self, metric: Metric):
        assert set(metric.values) <= set(metric.labels)

    def test_has_buckets_exactly_if_it_is_a_histogram(self, metric: Metric):
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_the_catalogue_holds_every_metric_of_the_module_once():
    declared = [value for value in vars(observing).values() if isinstance(value, Metric)]
    assert sorted(metric.name for metric in declared) == sorted(metric.name for metric in CATALOGUE)
    assert len(METRIC) == len(CATALOGUE)


def test_labels_of_closed_words_refuse_any_other():
    with pytest.raises(ValueError, match="outcome='lost' is none of applied, duplicate"):
        Metrics().count(observing.EVENTS_PROCESSED, topic="registry.tax", outcome="lost")


def test_a_label_that_the_catalogue_lacks_is_refused():
    with pytest.raises(ValueError, match="label"):
        Metrics().count(observing.FRAMES, subject="us-000017")


def test_a_scrape_shows_the_figures_reported():
    metrics = Metrics()
    metrics.count(observing.EVENTS_CONSUMED, 5000, topic="registry.tax")
    metrics.count(observing.EVENTS_CONSUMED, 7, topic="registry.tax")
    metrics.gauge(observing.LAG, 12, topic="registry.tax", shard="3")
    metrics.observe(observing.STAGE_DURATION, 0.2, stage="fold")
    server = metrics.serve(0)
    try:
        with urlopen(server.url) as answer:
            families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    finally:
        server.close()
    assert families["payout_events_consumed"].samples[0].value == 5007
    assert families["payout_lag_records"].samples[0].labels == {"topic": "registry.tax", "shard": "3"}
    assert [item.value for item in families["payout_stage_duration_seconds"].samples if item.labels.get("le") == "0.25"] == [1]


def test_a_scrape_holds_nothing_that_the_catalogue_lacks():
    metrics = Metrics()
    metrics.count(observing.FRAMES)
    families = {family.name for family in text_string_to_metric_families(metrics.text())}
    assert families == {metric.name.removesuffix("_total") for metric in CATALOGUE}


def test_the_figures_are_served_to_this_machine_only_unless_told_otherwise():
    server = Metrics().serve(0)
    host = server.server.server_address[0]
    server.close()
    assert host == "127.0.0.1"


def test_a_port_in_use_is_named():
    server = Metrics().serve(0)
    try:
        with pytest.raises(OSError, match=f"metrics_port {server.server.server_port} on 127.0.0.1 is already in use"):
            Metrics().serve(server.server.server_port)
    finally:
        server.close()


def test_a_replaced_gauge_forgets_the_states_that_are_empty_now():
    metrics = Metrics()
    metrics.replace(observing.ORDERS, {("us-eip1", "held"): 4, ("us-eip1", "sent"): 1})
    metrics.replace(observing.ORDERS, {("us-eip1", "sent"): 5})
    assert sample(metrics, "payout_orders", benefit="us-eip1", state="held") is None
    assert sample(metrics, "payout_orders", benefit="us-eip1", state="sent") == 5


def test_two_registries_in_one_process_keep_their_figures_apart():
    one, other = Metrics(), Metrics()
    one.count(observing.FRAMES)
    assert sample(one, "payout_frames_total") == 1
    assert sample(other, "payout_frames_total") == 0


def test_what_a_recorder_took_counts_as_if_it_had_happened_here():
    recorder, metrics = Recorder(), Metrics()
    for _ in range(3):
        recorder.count(observing.DECISIONS, 10, benefit="us-eip1", outcome="granted")
    recorder.gauge(observing.OUTBOX_PENDING, 9)
    recorder.gauge(observing.OUTBOX_PENDING, 2)
    recorder.observe(observing.FRAME_DURATION, 0.5)
    recorder.observe(observing.FRAME_DURATION, 0.25)
    report(recorder.take(), metrics)
    report(recorder.take(), metrics)
    assert sample(metrics, "payout_decisions_total", benefit="us-eip1", outcome="granted") == 30
    assert sample(metrics, "payout_outbox_pending") == 2
    assert sample(metrics, "payout_frame_duration_seconds_count") == 2
    assert sample(metrics, "payout_frame_duration_seconds_sum") == 0.75


def test_every_observer_takes_every_metric():
    for observer in (Silent(), Recorder(), Metrics()):
        for metric in CATALOGUE:
            labels = {label: metric.values[label][0] if label in metric.values else "x" for label in metric.labels}
            if metric.kind == "counter":
                observer.count(metric, 1, **labels)
            elif metric.kind == "gauge":
                observer.gauge(metric, 1, **labels)
            else:
                observer.observe(metric, 0.1, **labels)
