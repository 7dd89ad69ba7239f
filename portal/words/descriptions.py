"""What each relation of `words` asks for, in words that a person would use."""

from portal.tasks.descriptions import Descriptions, describe

_WORDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "capital": (
        "a country",
        (
            "its capital",
            "the capital city",
            "the city where its government sits",
            "which city is the capital",
            "the national capital",
            "the seat of government",
        ),
    ),
    "past_tense": (
        "a verb",
        (
            "its past tense",
            "the simple past",
            "the form for yesterday",
            "how the verb reads in the past",
            "the preterite",
            "the form that tells of the past",
        ),
    ),
    "french": (
        "an English word",
        (
            "the French word for it",
            "its translation into French",
            "what it is called in French",
            "how one says it in Paris",
            "the word in the French language",
            "its French equivalent",
        ),
    ),
    "category": (
        "a thing",
        (
            "the category it belongs to",
            "what kind of thing it is",
            "its class",
            "the group of things it is one of",
            "the more general word for it",
            "what sort of thing that is",
        ),
    ),
    "number_word": (
        "a number in digits",
        (
            "the number in words",
            "how the number is spelled out",
            "the word for the number",
            "the number as one says it",
            "the written-out form",
            "the name of the number",
        ),
    ),
    "young": (
        "an animal",
        (
            "what its young are called",
            "the word for its baby",
            "the name of its offspring",
            "what a young one is",
            "the term for the animal's child",
            "what one calls the little one",
        ),
    ),
    "comparative": (
        "an adjective",
        (
            "its comparative",
            "the form for more of it",
            "the form with which two are compared",
            "the comparative form",
            "the degree above the plain form",
            "how one says more of that",
        ),
    ),
    "element_symbol": (
        "a chemical element",
        (
            "its chemical symbol",
            "the symbol in the periodic table",
            "its abbreviation in chemistry",
            "the letters that stand for it",
            "how chemists write it",
            "its sign in formulas",
        ),
    ),
    "first_name": (
        "the surname of a famous person",
        (
            "the first name",
            "the given name of that person",
            "what the person was called by friends",
            "the name before the surname",
            "the forename",
            "how that person was christened",
        ),
    ),
    "state_capital": (
        "a state of the USA",
        (
            "its capital",
            "the capital of the state",
            "the city where the state is governed",
            "which city is the state capital",
            "the seat of the state government",
            "the city of its legislature",
        ),
    ),
    "plural": (
        "a noun",
        (
            "its plural",
            "the form for several of them",
            "the plural form",
            "how one writes more than one",
            "the word for many of these",
            "the noun for two or more",
        ),
    ),
    "nationality": (
        "a country",
        (
            "the adjective for its people",
            "what its citizens are called",
            "the nationality",
            "how one calls someone from there",
            "the word for an inhabitant",
            "which people live there",
        ),
    ),
    "gerund": (
        "a verb",
        (
            "its form in -ing",
            "the present participle",
            "the gerund",
            "the form of the verb for what goes on now",
            "the progressive form",
            "how the verb reads while it happens",
        ),
    ),
    "spanish": (
        "an English word",
        (
            "the Spanish word for it",
            "its translation into Spanish",
            "what it is called in Spanish",
            "how one says it in Madrid",
            "the word in the Spanish language",
            "its Spanish equivalent",
        ),
    ),
    "ordinal": (
        "a number in digits",
        (
            "its ordinal",
            "the word for that place in a row",
            "which place it is in an order",
            "the ordinal number in words",
            "the rank that the number stands for",
            "how one numbers that position",
        ),
    ),
    "animal_class": (
        "an animal",
        (
            "the class of animals it belongs to",
            "whether it is a mammal, a bird or something else",
            "its class in zoology",
            "the group in the animal kingdom",
            "which class zoologists put it in",
            "what type of animal it is",
        ),
    ),
    "antonym": (
        "a word",
        (
            "its opposite",
            "the antonym",
            "the word that means the contrary",
            "the reverse of it",
            "what is the other extreme",
            "the opposite term",
        ),
    ),
    "city_country": (
        "a city",
        (
            "the country it lies in",
            "its country",
            "where in the world it is",
            "the state to which the city belongs",
            "the nation of that city",
            "which country has that city",
        ),
    ),
    "continent": (
        "a country",
        (
            "the continent it lies on",
            "its continent",
            "which part of the world it is in",
            "the land mass it belongs to",
            "the continent of that country",
            "on which continent one finds it",
        ),
    ),
    "participle": (
        "a verb",
        (
            "its past participle",
            "the form after have",
            "the third form of the verb",
            "the participle of the past",
            "the form of the verb for what has been done",
            "the perfect participle",
        ),
    ),
    "german": (
        "an English word",
        (
            "the German word for it",
            "its translation into German",
            "what it is called in German",
            "how one says it in Berlin",
            "the word in the German language",
            "its German equivalent",
        ),
    ),
    "currency": (
        "a country",
        (
            "its currency",
            "the money one pays with there",
            "the name of its money",
            "which currency it uses",
            "the unit of money",
            "what people pay with",
        ),
    ),
    "thing_colour": (
        "a thing",
        (
            "its colour",
            "the colour it usually has",
            "what colour it is",
            "how it is coloured",
            "the typical colour",
            "which colour one sees on it",
        ),
    ),
    "superlative": (
        "an adjective",
        (
            "its superlative",
            "the form for the most of it",
            "the highest degree",
            "the superlative form",
            "the degree above all others",
            "how one says the most of that",
        ),
    ),
    "italian": (
        "an English word",
        (
            "the Italian word for it",
            "its translation into Italian",
            "what it is called in Italian",
            "how one says it in Rome",
            "the word in the Italian language",
            "its Italian equivalent",
        ),
    ),
    "language": (
        "a country",
        (
            "the language spoken there",
            "its main language",
            "what its people speak",
            "the official language",
            "which language one hears there",
            "the tongue of that country",
        ),
    ),
    "adverb": (
        "an adjective",
        (
            "its adverb",
            "the form that goes with a verb",
            "the adverbial form",
            "how one does something in that way",
            "the word for doing it so",
            "the adverb of that adjective",
        ),
    ),
    "roman_number": (
        "a Roman numeral",
        (
            "its value in digits",
            "the number it stands for",
            "the Arabic number",
            "how one writes it in digits",
            "the value of the numeral",
            "which number that is",
        ),
    ),
    "state_code": (
        "a state of the USA",
        (
            "its postal code of two letters",
            "the two-letter abbreviation",
            "how the post office writes it",
            "its abbreviation",
            "the short code of the state",
            "which two letters stand for it",
        ),
    ),
    "female": (
        "a word for a man or a male animal",
        (
            "the female counterpart",
            "the word for the woman",
            "the feminine form",
            "what the female is called",
            "the term for her",
            "the woman's word",
        ),
    ),
    "author": (
        "the title of a book",
        (
            "who wrote it",
            "its author",
            "the writer of the book",
            "whose work it is",
            "the name of the novelist",
            "by whom it was written",
        ),
    ),
    "animal_sound": (
        "an animal",
        (
            "the sound it makes",
            "what it does with its voice",
            "its cry",
            "the verb for its noise",
            "how one hears it",
            "the noise of that animal",
        ),
    ),
    "profession": (
        "the surname of a famous person",
        (
            "what the person was by profession",
            "the person's work",
            "what made that person famous",
            "the trade of that person",
            "the occupation",
            "the field the person worked in",
        ),
    ),
    "symbol_element": (
        "the symbol of a chemical element",
        (
            "the element's name",
            "which element it stands for",
            "the name in the periodic table",
            "the substance that the letters mean",
            "the full name of the element",
            "what chemists read there",
        ),
    ),
}
"""By relation: what the prompt shows, and six wordings of what is asked for, of which two are held out."""


def describe_relation(relation: str, answer: str) -> Descriptions:
    """The descriptions of a task of that relation whose choices have the form `answer`."""
    shown, wordings = _WORDINGS[relation]
    return describe(shown, wordings, answer)
