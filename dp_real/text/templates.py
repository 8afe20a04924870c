"""Prompts for language models, which may show real examples."""

from typing import Annotated

from pydantic import AfterValidator

from dp_real.sections import not_empty, template

EXAMPLES = "{examples}"
"""The place of real examples in a prompt."""
TextTemplates = Annotated[tuple[Annotated[str, AfterValidator(template(EXAMPLES))], ...], AfterValidator(not_empty)]
"""Prompts with {}, {definition} or {synonyms} in place of the class, and perhaps {examples}."""
