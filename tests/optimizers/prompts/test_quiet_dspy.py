"""What a compilation hides of DSPy's bars, prints and log, and that nobody else's are touched: the real DSPy, without LMs."""

import logging
import sys
import threading

import dspy
import tqdm
import tqdm.auto

from optimizers.prompts.quiet_dspy import quiet_dspy

TRAIN = [dspy.Example(question=f"q{number}").with_inputs("question") for number in range(6)]


class Echo(dspy.Module):
    """Answers with its question, and says so."""

    def forward(self, question):
        print(f"echoed {question}")
        return dspy.Prediction(answer=question)


def metric(example, prediction, trace=None):
    return prediction.answer == example.question


def optimized():
    """Three ways in which DSPy draws and logs: its parallel and its sequential evaluation, and the bar of its bootstrapping."""
    for threads in (4, 1):
        dspy.Evaluate(devset=TRAIN, metric=metric, num_threads=threads, display_progress=True)(Echo())
    dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=2, max_labeled_demos=0).compile(Echo(), trainset=TRAIN)


def test_without_it_dspy_draws_prints_and_logs(capsys):
    optimized()
    printed, drawn = capsys.readouterr()
    assert "6/6" in printed and "Bootstrapped 2 full traces" in printed and "echoed q1" in printed
    assert "it/s" in drawn and "Average Metric" in drawn


def test_dspy_is_hidden_and_what_others_say_on_standard_error_is_not(capsys, tmp_path):
    before = sys.stdout, sys.stderr
    with quiet_dspy(tmp_path / "log.txt"):
        optimized()
        print("mind this", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr() == ("", "mind this\n")
    assert (tmp_path / "log.txt").read_text().count("Average Metric: 6") == 2
    print("after")
    logging.getLogger("dspy").info("later")
    assert capsys.readouterr().out == "after\n" and "later" not in (tmp_path / "log.txt").read_text()


def test_bars_prints_and_log_of_another_thread_are_untouched(capsys, tmp_path):
    classes = {tqdm.tqdm, tqdm.auto.tqdm}
    before = {cls: dict(vars(cls)) for cls in classes}
    under_way, looked = threading.Event(), threading.Event()

    def compile_there():
        with quiet_dspy(tmp_path / "log.txt"):
            optimized()
            under_way.set()
            assert looked.wait(60)
            optimized()

    thread = threading.Thread(target=compile_there)
    thread.start()
    assert under_way.wait(60)
    assert {tqdm.tqdm, tqdm.auto.tqdm} == classes
    assert all(vars(cls)["__init__"] is names["__init__"] for cls, names in before.items())
    for cls in (tqdm.tqdm, tqdm.auto.tqdm):
        assert not cls([]).disable and list(cls(range(3), desc=f"mine {cls.__module__}")) == [0, 1, 2]
    print("mine")
    logging.getLogger("dspy").warning("my log")
    looked.set()
    thread.join(60)
    printed, shown = capsys.readouterr()
    assert printed == "mine\n"
    assert f"mine {tqdm.tqdm.__module__}: 100%" in shown and f"mine {tqdm.auto.tqdm.__module__}: 100%" in shown and "my log" in shown
    assert "Average Metric" not in shown and "6/6" not in shown and "my log" not in (tmp_path / "log.txt").read_text()


def test_two_at_a_time_keep_their_logs_apart_and_leave_the_streams_as_they_were(capsys, tmp_path):
    first, second = quiet_dspy(tmp_path / "first.txt"), quiet_dspy(tmp_path / "second.txt")
    begun, ended = threading.Event(), threading.Event()

    def beside():
        with second:
            begun.set()
            assert ended.wait(60)
            optimized()

    before, thread = (sys.stdout, sys.stderr), threading.Thread(target=beside)
    with first:
        thread.start()
        assert begun.wait(60)
    ended.set()
    thread.join(60)
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr() == ("", "")
    assert (tmp_path / "first.txt").read_text() == "" and "Average Metric" in (tmp_path / "second.txt").read_text()


def test_a_bar_that_tqdms_own_thread_draws_is_hidden(capsys, tmp_path):
    with quiet_dspy(tmp_path / "log.txt"):
        bar = tqdm.tqdm(total=9)
    drawing = threading.Thread(target=bar.refresh)
    drawing.start()
    drawing.join()
    bar.close()
    assert capsys.readouterr().err == ""
