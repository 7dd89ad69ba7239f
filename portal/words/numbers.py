"""`NUMBERS`: the numbers from 1 to 96 in digits, in words, as ordinals and as Roman numerals."""

from portal.words.table import Row, Table

_LAST = 96
_ONES = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ROMAN = ((90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def number_word(number: int) -> str:
    """The number from 1 to 99 in words: "forty-two"."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def ordinal_word(number: int) -> str:
    """The ordinal of a number from 1 to 99 in words: "forty-second"."""
    *before, last = number_word(number).split("-")
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return "-".join((*before, last))


def roman_numeral(number: int) -> str:
    """The number from 1 to 99 in Roman numerals: "XLII"."""
    numeral = ""
    for value, sign in _ROMAN:
        numeral += sign * (number // value)
        number %= value
    return numeral


def _forms(number: int) -> Row:
    return {
        "number": (str(number),),
        "word": (number_word(number),),
        "ordinal": (ordinal_word(number),),
        "numeral": (roman_numeral(number),),
        "next_number": (str(number + 1),),
        "next_numeral": (roman_numeral(number + 1),),
    }


NUMBERS = Table("number", tuple(_forms(number) for number in range(1, _LAST + 1)))
