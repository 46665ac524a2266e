"""What a check of an exercise prints, and that it never stops a notebook."""

import numpy as np
import pytest

from ssltut.exercises import check


def answer(x: object) -> object:
    return x + 1  # a student's mistake for anything but a number


def stub() -> None:
    raise NotImplementedError("Your turn: add one")


def test_a_right_answer_is_called_right(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        assert answer(1) == 2, "one more"
    assert capsys.readouterr().out == "Exercise 2: right.\n"


def test_an_assertion_gives_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        raise AssertionError("yours is 2,\n not 3")  # pytest adds words to an assert
    assert capsys.readouterr().out == "Not yet: yours is 2, not 3\n"


def test_a_stub_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        stub()
    assert capsys.readouterr().out == "Not yet: Your turn: add one\n"


def test_an_error_names_its_type_and_the_students_line(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        answer("1")
    said = capsys.readouterr().out
    assert said.startswith("Not yet: TypeError: can only concatenate str")
    assert "return x + 1" in said
    assert said.count("\n") == 1
    assert "return missing" not in said


def test_a_forgotten_return_is_suspected(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        answer(None)
    assert "'NoneType'" in (said := capsys.readouterr().out)
    assert "; is a return missing? (in line " in said


def test_the_line_is_the_students_and_not_one_of_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with check("2"):
        np.linalg.inv(np.zeros((2, 2)))
    said = capsys.readouterr().out
    assert said.startswith("Not yet: LinAlgError: Singular matrix (in line ")
    assert "np.linalg.inv(np.zeros((2, 2)))" in said


def test_a_name_that_was_never_defined(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        forgotten(1)  # type: ignore[name-defined]  # noqa: F821
    assert "NameError: name 'forgotten' is not defined (in line " in capsys.readouterr().out


def test_an_assertion_without_a_message_gives_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with check("2"):
        raise AssertionError
    said = capsys.readouterr().out
    assert said.startswith("Not yet: this is not true yet, line ")
    assert "raise AssertionError" in said


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_only_interrupts_and_exits_leave_the_block(leaving: type[BaseException]) -> None:
    with pytest.raises(leaving), check("2"):
        raise leaving
