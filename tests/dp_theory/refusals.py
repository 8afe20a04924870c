"""What is refused where it is given."""

import re

import pytest

from dp_theory import InputError


def refused(*cases):
    """A test that each call is refused, with this message in one line."""

    @pytest.mark.parametrize(("call", "message"), cases)
    def test(call, message):
        assert_refused(call, message)

    return test


def out_of_range(*cases):
    """A test that each of these numbers is refused by its name where the others are right, and so is a text."""
    numbers = [(call, name, value) for call, values in cases for name, value in values.items()]

    @pytest.mark.parametrize(("call", "name", "value"), numbers)
    def test(call, name, value):
        assert_refused(lambda: call(**{name: value}), re.escape(f"{name} = {value:g} must "))
        assert_refused(lambda: call(**{name: "many"}), f"{name} = 'many' must be a ")

    return test


def assert_refused(call, message):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert len(str(told.value).splitlines()) == 1
    assert len(str(told.value)) < 250
