"""What each kind of the village asks for, in words that a person would use."""

from portal.tasks.descriptions import Descriptions, describe

_PERSON, _THING, _TEXT = "the name of a person", "the name of a thing", "a short story"
_WORDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "home": (
        _PERSON,
        (
            "the town where the person lives",
            "their home town",
            "the place where their house stands",
            "where they live now",
            "the town of residence",
            "where the person has a home",
        ),
    ),
    "birthplace": (
        _PERSON,
        (
            "the town where the person was born",
            "their birthplace",
            "the place where they came into the world",
            "where they were a small child",
            "the town of birth",
            "where the person was born",
        ),
    ),
    "workplace": (
        _PERSON,
        (
            "the town where the person works",
            "their place of work",
            "the place where they earn money",
            "where they go to work",
            "the town of employment",
            "where the person is at work",
        ),
    ),
    "job": (
        _PERSON,
        (
            "the work that the person does",
            "their job",
            "the trade that they live by",
            "what they work as",
            "the profession",
            "which occupation the person has",
        ),
    ),
    "friend_job": (
        _PERSON,
        (
            "the work that their best friend does",
            "the job of the person's friend",
            "the trade that the friend lives by",
            "what their friend works as",
            "the profession of the friend",
            "which occupation the friend of the person has",
        ),
    ),
    "likes": (
        _PERSON,
        (
            "the food that the person likes",
            "their favourite food",
            "what they love to eat",
            "the dish that they are fond of",
            "the food that the person enjoys",
            "what they like best at table",
        ),
    ),
    "hates": (
        _PERSON,
        (
            "the food that the person hates",
            "the food that they never eat",
            "what they cannot stand to eat",
            "the dish that they dislike",
            "the food that the person refuses",
            "what they like least at table",
        ),
    ),
    "plays": (
        _PERSON,
        (
            "the instrument that the person plays",
            "their musical instrument",
            "what they make music with",
            "the instrument that they learned",
            "which instrument is theirs",
            "what the person plays music on",
        ),
    ),
    "pet": (
        _PERSON,
        (
            "the animal that the person keeps",
            "their pet",
            "the animal that they feed at home",
            "which animal follows them",
            "what kind of pet it is",
            "the animal in the person's house",
        ),
    ),
    "age": (
        _PERSON,
        (
            "how old the person is",
            "their age",
            "the number of years they have lived",
            "their age in years",
            "how many years old they are",
            "the person's age",
        ),
    ),
    "colour": (
        _THING,
        (
            "its colour",
            "the colour that it was painted in",
            "which colour the thing has",
            "how it is coloured",
            "the colour of the paint",
            "what colour it shines in",
        ),
    ),
    "material": (
        _THING,
        (
            "what it is made of",
            "its material",
            "the stuff that it was formed from",
            "what the thing consists of",
            "the substance of it",
            "which material was used",
        ),
    ),
    "room": (
        _THING,
        (
            "the room where it is kept",
            "the room that it stands in",
            "its place in the house",
            "the room where the thing was left",
            "which room holds it",
            "in what room one finds it",
        ),
    ),
    "class": (
        _THING,
        (
            "the kind of object that it is",
            "its category",
            "what it serves as",
            "the class of goods that it belongs to",
            "which type of object it is",
            "what sort of thing it is",
        ),
    ),
    "origin": (
        _THING,
        (
            "the town that it comes from",
            "where it was built",
            "the town of its maker",
            "where the thing was brought from",
            "its place of origin",
            "which town made it",
        ),
    ),
    "leftover": (
        _TEXT,
        (
            "the thing that was left over",
            "what was not taken",
            "the one thing that stayed",
            "which object remained",
            "the item that nobody took",
            "what is still there in the end",
        ),
    ),
    "first": (
        _TEXT,
        (
            "what happened first",
            "the deed that came first",
            "the earlier of the two deeds",
            "what was done before the other",
            "the first event in time",
            "which deed was earlier",
        ),
    ),
    "meeting": (
        _TEXT,
        (
            "who did it",
            "the person that the pronoun stands for",
            "which of the two people acted",
            "who is meant by he or she",
            "the one whom the pronoun refers to",
            "which person the last sentence is about",
        ),
    ),
}
"""By kind: what the prompt shows, and six wordings of what is asked for, of which two are held out."""


def describe_kind(kind: str, answer: str) -> Descriptions:
    """The descriptions of a task of that kind whose choices have the form `answer`."""
    shown, wordings = _WORDINGS[kind]
    return describe(shown, wordings, answer)
