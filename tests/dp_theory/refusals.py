"""What is refused where it is given."""

from collections.abc import Callable
from typing import Any

import pytest

from dp_theory import InputError


def refused(*cases: tuple[Callable[[], Any], str]) -> Callable[..., None]:
    """A test that each call is refused, with this message in one line."""

    @pytest.mark.parametrize(("call", "message"), cases)
    def test(call: Callable[[], Any], message: str) -> None:
        with pytest.raises(InputError, match=message) as told:
            call()
        assert len(str(told.value).splitlines()) == 1
        assert len(str(told.value)) < 250

    return test
