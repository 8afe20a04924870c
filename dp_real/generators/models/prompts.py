"""Prompts for classes."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from dp_base.errors import InputError

PLACE = re.compile(r"\{(definition|synonyms)?\}")


def class_prompts(
    templates: Sequence[str], classes: Sequence[str], definitions: Sequence[str] = (), synonyms: Sequence[str] = ()
) -> list[list[str]]:
    """A list per class: each template with the class's name in place of {}, and its {definition} and {synonyms}.

    A class without synonyms has its name. Raises InputError for a class without a definition if a template asks for it.
    """
    prompts = []
    for name, definition, words in zip_longest(classes, definitions, synonyms, fillvalue=""):
        asking = [template for template in templates if "{definition}" in template]
        if asking and not definition:
            raise InputError(f"prompt {asking[0]!r}: class {name!r} has no definition; write one in data.definitions")
        words = {"{}": name, "{definition}": definition, "{synonyms}": words or name}
        prompts.append([PLACE.sub(lambda place, words=words: words[place[0]], template) for template in templates])
    return prompts
