"""The characters that are the classes of the data source `glyphs`, with the names that prompts use."""

# fmt: off
CHARACTERS = {
    "2": "digit two", "3": "digit three", "4": "digit four", "5": "digit five", "6": "digit six", "7": "digit seven",
    "8": "digit eight", "9": "digit nine",
    **{letter: f"capital {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{letter: f"small {letter}" for letter in "abdefghiqrty"},
    "&": "ampersand", "@": "at sign", "#": "number sign", "$": "dollar sign", "%": "percent sign",
    "?": "question mark", "!": "exclamation mark", "+": "plus sign", "<": "less-than sign", ">": "greater-than sign",
    "{": "left brace", "}": "right brace", "(": "left parenthesis", ")": "right parenthesis", "[": "left bracket",
    "]": "right bracket", "*": "asterisk", "=": "equals sign", "£": "pound sign", "¥": "yen sign", "§": "section sign",
    "¶": "paragraph sign", "ß": "sharp s", "æ": "small ae", "Æ": "capital AE", "Ø": "capital O with stroke",
    "÷": "division sign", "±": "plus-minus sign", "«": "left guillemet", "»": "right guillemet", "©": "copyright sign",
}
# fmt: on
"""Characters whose forms differ after each is scaled to one size. Twins are left out, such as c and C, or o and 0."""

CASES = tuple((letter, letter.upper()) for letter in "abdeghqrt")
"""Small letters whose capital has another form. A font where they look alike draws small letters as capitals."""

BEYOND_ASCII = [place for place, character in enumerate(CHARACTERS) if not character.isascii()]
"""The places of signs in whose place some fonts have letters of another script."""
