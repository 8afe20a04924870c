"""What is refused where it is given."""

import re
from contextlib import contextmanager

import pytest

from dp_base.errors import InputError


def refused(calls):
    """A test that each of these calls is refused in one line, with the message that it has as its name."""

    @pytest.mark.parametrize(("message", "call"), calls.items())
    def test(message, call):
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
    with refusal(message) as told:
        call()
    assert len(str(told.value)) < 250


@contextmanager
def refusal(message, kind=InputError):
    """What the block does is refused, with this message in one line."""
    with pytest.raises(kind, match=message) as told:
        yield told
    assert "\n" not in str(told.value)
