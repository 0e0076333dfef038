"""The time left, of stages of any length and of whole jobs, on a clock that the tests set."""

import pytest

from optimizers.jobs.pace import JobPace, Pace, kind_of


def test_steps_that_take_minutes_have_a_time_left():
    pace = Pace(0.0, 0)
    for minute in range(1, 4):
        pace.note(60.0 * minute, minute)
    assert pace.seconds_left(180.0, 10) == pytest.approx(7 * 60)
    # Nothing new for two minutes: by the whole stage, not "unknown".
    assert pace.seconds_left(300.0, 10) == pytest.approx(7 * 100)


def test_a_long_stage_goes_by_its_latest_third():
    pace = Pace(0.0, 0)
    for second in range(1, 601):
        pace.note(second, second)
    for step in range(1, 61):  # ten times as slow for as long again
        pace.note(600 + 10 * step, 600 + step)
    assert pace.seconds_left(1200.0, 700) == pytest.approx(40 * 10, rel=0.02)


def test_what_an_earlier_call_did_tells_nothing_of_the_speed():
    pace = Pace(100.0, 500)
    assert pace.seconds_left(100.0, 600) is None
    pace.note(110.0, 505)
    assert pace.seconds_left(110.0, 600) == pytest.approx(95 * 2)


def test_a_stage_that_begins_again_has_its_own_time():
    pace = Pace(0.0, 0)
    pace.note(10.0, 100)
    pace.note(20.0, 0)
    assert pace.started == 20.0 and pace.seconds_left(20.0, 100) is None


def test_a_stage_of_a_million_steps_keeps_few_points():
    pace = Pace(0.0, 0)
    for step in range(1, 20_001):
        pace.note(step / 100, step)
    assert len(pace._points) <= 300 and pace.seconds_left(200.0, 40_000) == pytest.approx(200.0, rel=0.02)


def test_the_whole_job_goes_by_what_was_expected_then_by_what_was_seen():
    job = JobPace({"label train": 100.0, "train S_D-R": 200.0, "evaluate a": 50.0, "evaluate b": 50.0}, 0.0)
    assert job.share_and_left(0.0) == (0.0, 400.0)
    job.note(0.0, "label train", 0.0)
    job.note(200.0, "label train", 1.0)  # twice as slow, as the rest will be
    share, left = job.share_and_left(200.0)
    assert share == pytest.approx(0.25, abs=0.01) and left == pytest.approx(600.0, rel=0.05)
    job.note(200.0, "train S_D-R", 0.0)
    job.note(250.0, "train S_D-R", 0.5)  # twice as fast as expected
    assert job.share_and_left(250.0)[1] == pytest.approx(50 + 100 * 2, rel=0.05)  # asking goes on as asking did
    job.finished()
    assert job.share_and_left(250.0) == (1.0, 0.0)


def test_a_slow_server_makes_asking_slow_and_no_training():
    job = JobPace({"label train": 5.0, "train S_D-R": 200.0, "evaluate a": 20.0}, 0.0)
    job.note(0.0, "label train", 0.0)
    job.note(250.0, "label train", 1.0)  # fifty times slower than an API that is counted on
    assert job.share_and_left(250.0)[1] == pytest.approx(200 * 3 + 20 * 50, rel=0.05)
    job.note(250.0, "train S_D-R", 0.0)
    job.note(350.0, "train S_D-R", 0.5)
    assert job.share_and_left(350.0)[1] == pytest.approx(100 + 20 * 50, rel=0.05)


def test_the_first_answer_of_many_threads_is_no_alarm():
    """As it was: 30 labels expected in 60 seconds took 200, eight at a time, and the first came after 40."""
    job = JobPace({"label train": 60.0, "train S_D-R": 100.0, "evaluate a": 100.0}, 0.0)
    job.note(0.0, "label train", 0.0)
    job.note(40.0, "label train", 1 / 30)
    assert job.share_and_left(40.0)[1] < 2 * (160 + 300 + 333)


def test_a_job_that_does_not_come_on_has_ever_more_time_left():
    job = JobPace({"label train": 10.0, "evaluate a": 10.0}, 0.0)
    job.note(0.0, "label train", 0.0)
    assert job.share_and_left(5.0)[1] == pytest.approx(20.0)
    assert job.share_and_left(300.0)[1] == pytest.approx(600.0)
    job.note(300.0, "label train", 0.5)
    before = job.share_and_left(300.0)[1]
    assert job.share_and_left(400.0)[1] > before > 600.0


def test_stages_that_were_not_needed_count_as_done():
    job = JobPace({"label train": 100.0, "train S_D-R": 100.0, "evaluate a": 100.0}, 0.0)
    job.note(1.0, "evaluate a", 0.0)
    assert job.share_and_left(1.0)[1] == pytest.approx(100.0)


def test_time_in_stages_nobody_expected_goes_to_the_one_under_way():
    job = JobPace({"label train": 10.0, "trials": 400.0}, 0.0)
    job.note(0.0, "label train", 1.0)
    job.note(0.0, "trials", 0.0)
    for second in range(1, 101):
        job.note(second, "trial 0: train", second / 100)
    job.note(200.0, "trials", 0.25)
    assert job.share_and_left(200.0)[1] == pytest.approx(600.0, rel=0.05)


def test_a_job_of_which_nothing_is_expected_has_no_time():
    assert JobPace({}, 0.0).share_and_left(9.0) is None


def test_kinds_of_stages():
    assert [kind_of(stage) for stage in ("train S_D-R people", "round 1: train", "trials", "evaluate 1/2 a: b")] == [
        "train", "train", "trials", "b"]  # fmt: skip


def test_a_continued_stage_that_stands_still_is_expected_to_go_on_standing_still():
    job = JobPace({"evaluate a": 90.0, "evaluate b": 10.0}, 0.0)
    job.note(1.0, "evaluate a", 1.0)
    job.note(1.0, "evaluate b", 0.5)
    assert job.share_and_left(2.0)[1] == pytest.approx(5.0)
    assert job.share_and_left(61.0)[1] == pytest.approx(61.0)
