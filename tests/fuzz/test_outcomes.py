"""The judge of generated cases tells the outcomes apart, and goes on after each."""

from __future__ import annotations

from outcomes import BAD, GOOD, Case, again, run, table

KNOWN = {
    "right": "right",
    "error": "error",
    "silent": "silent",
    "unnamed": "unnamed",
    "foreign": "foreign",
    "leaves": "foreign",
    "memory": "memory",
    "crash": "crash",
}


def case(name: str, index: int = 0, **options) -> Case:
    return Case(name, 1, index, f"selftest:{name}", **options)


def test_every_outcome_is_told_apart_and_the_next_case_runs():
    cases = [case(name) for name in KNOWN] + [case("right"), case("crash", 1), case("right", 1)]
    found = list(run(cases, limit=1 << 30))
    assert [o.what for o in found] == [*KNOWN.values(), "right", "crash", "right"]
    assert [o.good for o in found[:2]] == [True, True] and not any(o.good for o in found[2:8])
    crash = next(o for o in found if o.what == "crash")
    assert "SIGSEGV" in crash.message and "selftest.py" in crash.message


def test_a_case_that_does_not_end_is_cut_off():
    hang, right = run([case("hang"), case("right")], seconds=1.5)
    assert (hang.what, right.what) == ("hang", "right")
    assert 1.4 < hang.seconds < 3


def test_what_an_error_must_name_can_be_given():
    given = [("training.epochs", "x"), ("y",), ()]
    outcomes = run([case("key", names=names) for names in given])
    assert [o.what for o in outcomes] == ["error", "unnamed", "unnamed"]


def test_a_case_is_the_same_again_and_alone_but_differs_from_the_others():
    cases = [Case("draws", s, i, "selftest:draws", {"least": 5}) for s in (0, 1) for i in (0, 1)]
    first = [o.message for o in run(cases)]
    assert len(set(first)) == 4
    (alone,) = run(cases[2:3])
    assert alone.message.split()[-2:] == first[2].split()[-2:]


def test_the_table_has_a_row_per_kind_and_a_sum():
    outcomes = list(run([case("right"), case("right", 1), case("foreign")]))
    rows = [line.split() for line in table(outcomes).splitlines()]
    assert rows[0] == [*GOOD, *BAD]
    assert rows[1:] == [
        ["right", "2", *"0000000"],
        ["foreign", "0", "0", "0", "0", "1", "0", "0", "0"],
        ["all", "2", "0", "0", "0", "1", "0", "0", "0"],
    ]
    assert again(outcomes[2].case) in str(outcomes[2])
