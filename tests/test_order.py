"""Keys of a line: they sort as the contract says, and there is always room between two of them."""

from hypothesis import given
from hypothesis import strategies as st

from queue_ext import order
from queue_ext.ids import new_id

arrivals = st.text(order.DIGITS, min_size=1, max_size=30).map(lambda text: text.rstrip("0") or "1")
priorities = st.integers(-order.PRIORITY_LIMIT, order.PRIORITY_LIMIT)
turns = st.integers(0, 10**10 - 1)


@given(st.lists(st.tuples(priorities, turns, st.text(order.DIGITS, min_size=26, max_size=26)), min_size=2, max_size=20))
def test_keys_sort_by_priority_then_turn_then_arrival(jobs: list[tuple[int, int, str]]) -> None:
    wanted = sorted(jobs, key=lambda job: (-job[0], job[1], job[2]))
    assert sorted(jobs, key=lambda job: order.key(*job)) == wanted


@given(priorities, turns)
def test_a_key_tells_its_priority_and_turn(priority: int, turn: int) -> None:
    made = order.key(priority, turn, new_id())
    low, high = order.priority_range(priority)
    assert (order.priority_of(made), order.turn_of(made)) == (priority, turn) and low < made < high


@given(arrivals, arrivals)
def test_there_is_room_between_any_two(one: str, other: str) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    middle = order.between(low, high)
    assert low < middle < high and not middle.endswith("0")


@given(arrivals)
def test_there_is_room_before_and_behind_any(arrival: str) -> None:
    assert "" < order.between("", arrival) < arrival < order.between(arrival, None)


@given(st.lists(st.integers(0, 100), max_size=300))
def test_there_is_room_again_and_again(places: list[int]) -> None:
    line = [new_id()]
    for place in places:
        at = place % (len(line) + 1)
        line.insert(at, order.between(line[at - 1] if at else "", line[at] if at < len(line) else None))
    assert line == sorted(line) and len(set(line)) == len(line)


def test_a_thousand_halvings_of_one_gap_stay_in_order() -> None:
    low, high = new_id(), new_id()
    for number in range(1000):
        middle = order.between(low, high)
        assert low < middle < high
        low, high = (middle, high) if number % 2 else (low, middle)


@given(st.integers(1, 3000))
def test_spread_keys_are_different_in_order_and_before_all_that_come_later(count: int) -> None:
    now = new_id()
    made = order.spread(count, now)
    assert len(made) == count and made == sorted(set(made)) and made[-1] < now
    assert all(len(part) <= 12 for part in made)


def test_before_and_after_keep_to_the_neighbours_priority_and_turn() -> None:
    now = new_id()
    neighbour = order.key(3, 7, now)
    for other in (None, order.key(3, 6, new_id()), order.key(4, 7, new_id()), order.key(3, 7, "01")):
        made = order.before(neighbour, other)
        assert (order.priority_of(made), order.turn_of(made)) == (3, 7) and (other or "") < made < neighbour
    for other in (None, order.key(3, 8, new_id()), order.key(2, 7, new_id()), order.key(3, 7, "z")):
        made = order.after(neighbour, other, new_id())
        assert (order.priority_of(made), order.turn_of(made)) == (3, 7) and neighbour < made < (other or "~")


def test_what_goes_behind_all_others_is_before_what_comes_later() -> None:
    made = order.after(order.key(0, 0, new_id()), None, new_id())
    assert made < order.key(0, 0, new_id())


def test_a_turn_is_that_of_the_last_start_or_behind_ones_own() -> None:
    assert order.next_turn(5, []) == 5
    assert order.next_turn(5, [2, 3]) == 5
    assert order.next_turn(5, [5, 9]) == 10


def test_lanes_are_served_as_configured_or_default_first() -> None:
    assert order.lanes_of((), ["zebra", "default", "alpha"]) == ["default", "alpha", "zebra"]
    assert order.lanes_of(("b", "gone", "a"), ["a", "b", "c"]) == ["b", "a"]
