"""`CITIES`: the countries that cities lie in."""

from portal.words.countries import COUNTRIES
from portal.words.table import Row, read_table

_BY_COUNTRY = {row["country"][0]: row for row in COUNTRIES.rows}


def _nationality(city: Row) -> str:
    return _BY_COUNTRY[city["country"][0]].get("nationality", ("",))[0]


def _capital(city: Row) -> str:
    return _BY_COUNTRY[city["country"][0]].get("capital", ("",))[0]


CITIES = (
    read_table(
        "city",
        """
city, country
Aleppo, Syria
Antwerp, Belgium
Arequipa, Peru
Auckland, New Zealand
Bangalore, India
Barcelona, Spain
Basel, Switzerland
Basra, Iraq
Bordeaux, France
Brisbane, Australia
Busan, South Korea
Calgary, Canada
Cali, Colombia
Cancun, Mexico
Casablanca, Morocco
Cebu, Philippines
Chennai, India
Chiang Mai, Thailand
Chicago, United States
Christchurch, New Zealand
Cologne, Germany
Cusco, Peru
Dallas, United States
Da Nang, Vietnam
Detroit, United States
Dubai, United Arab Emirates
Durban, South Africa
Florence, Italy
Frankfurt, Germany
Gdansk, Poland
Geneva, Switzerland
Glasgow, United Kingdom
Gothenburg, Sweden
Guadalajara, Mexico
Guangzhou, China
Guayaquil, Ecuador
Hamburg, Germany
Hiroshima, Japan
Houston, United States
Incheon, South Korea
Isfahan, Iran
Istanbul, Turkey
Izmir, Turkey
Jeddah, Saudi Arabia
Johannesburg, South Africa
Kano, Nigeria
Karachi, Pakistan
Kharkiv, Ukraine
Kolkata, India
Krakow, Poland
Kyoto, Japan
Lagos, Nigeria
Lahore, Pakistan
Liverpool, United Kingdom
Luxor, Egypt
Lviv, Ukraine
Lyon, France
Malmo, Sweden
Mandalay, Myanmar
Maracaibo, Venezuela
Marrakesh, Morocco
Marseille, France
Mecca, Saudi Arabia
Medellin, Colombia
Melbourne, Australia
Milan, Italy
Mombasa, Kenya
Monterrey, Mexico
Montreal, Canada
Mosul, Iraq
Mumbai, India
Munich, Germany
Nagasaki, Japan
Nagoya, Japan
Novosibirsk, Russia
Osaka, Japan
Perth, Australia
Philadelphia, United States
Phuket, Thailand
Porto, Portugal
Recife, Brazil
Rio de Janeiro, Brazil
Rotterdam, Netherlands
Saint Petersburg, Russia
Salzburg, Austria
Sao Paulo, Brazil
Seattle, United States
Shanghai, China
Shenzhen, China
Surabaya, Indonesia
Sydney, Australia
Tel Aviv, Israel
Thessaloniki, Greece
Tijuana, Mexico
Toronto, Canada
Valparaiso, Chile
Vancouver, Canada
Venice, Italy
Vladivostok, Russia
Wuhan, China
Yangon, Myanmar
Zurich, Switzerland
""",
    )
    .with_column("nationality", _nationality)
    .with_column("capital", _capital)
)
"""Cities that are not the capital, with the nationality and the capital of their country as rivals."""
