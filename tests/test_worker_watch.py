"""Which of the partitions that ought to be read have not been for too long."""

from __future__ import annotations

from streams.worker_watch import SETTLING, Sight, Watch

TAX, HOME = ("registry.tax", 0), ("registry.residency", 0)


def test_what_is_read_again_and_again_is_not_late_however_long_it_goes_on():
    watch = Watch()
    assert [watch.look(10.0 * number, {TAX: number, HOME: -number}, 15) for number in range(20)] == [Sight()] * 20


def test_a_partition_that_is_not_read_beside_others_that_are_is_named():
    watch = Watch()
    for second in range(10):
        assert watch.look(second, {TAX: second, HOME: 7}, 9) == Sight()
    late = watch.look(10, {TAX: 10, HOME: 7}, 9)
    assert late == Sight((HOME,), 10, False)
    assert str(late) == "partitions are assigned here and are not read"


def test_where_nothing_is_read_kafka_is_silent():
    watch = Watch()
    watch.look(0, {TAX: 1, HOME: 1}, 5)
    late = watch.look(6, {TAX: 1, HOME: 1}, 5)
    assert late == Sight((HOME, TAX), 6, True)
    assert str(late) == "Kafka answers nothing"


def test_what_was_assigned_and_never_read_is_not_taken_for_a_silent_broker():
    watch = Watch()
    watch.look(0, {TAX: None, HOME: None}, 5)
    late = watch.look(6, {TAX: None, HOME: None}, 5)
    assert late == Sight((HOME, TAX), 6, False)
    assert str(late) == "partitions are assigned here and are not read"


def test_a_full_lane_whose_partition_is_not_asked_for_is_not_late_when_it_has_room_again():
    watch = Watch()
    watch.look(0, {TAX: 1, HOME: 1}, 5)
    watch.look(4, {HOME: 2}, 5)
    assert watch.look(8, {TAX: 1, HOME: 3}, 5) == Sight()


def test_a_group_that_does_not_settle_says_so():
    watch = Watch()
    watch.look(0, {SETTLING: 0}, 5)
    assert str(watch.look(6, {SETTLING: 0}, 5)) == "the group has not given this worker partitions"
