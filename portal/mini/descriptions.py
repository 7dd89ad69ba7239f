"""What each task of `mini` asks for, in words that a person would use."""

from portal.tasks.descriptions import Descriptions, describe

_WORDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cause_effect": (
        "an event with 'because' or 'therefore' after it",
        (
            "the event that makes sense next",
            "its likely cause or result",
            "what led to it or came of it",
            "the clause that follows sensibly",
            "the plausible continuation",
            "the reason or the outcome",
        ),
    ),
    "comparison": (
        "two people and a word for old or young",
        (
            "the person that the word fits better",
            "which of the two it is",
            "the one who is older or younger, as asked",
            "the name that the comparison picks",
            "who of the pair has that age",
            "the person of the asked seniority",
        ),
    ),
    "completion": (
        "a sentence about a person, with its end missing",
        (
            "the word that ends it best",
            "what the person likes or hates enough for this",
            "the fitting last word",
            "the thing that makes the sentence true",
            "how the sentence goes on",
            "the missing food",
        ),
    ),
    "counting": (
        "a list of things in a bag",
        (
            "how many things there are",
            "the number of items",
            "the size of the bag's content",
            "the count as a word",
            "how long the list is",
            "the total as a numeral in words",
        ),
    ),
    "entailment": (
        "two facts and a claim about colours",
        (
            "whether the claim is true, false or neither",
            "what follows about the claim",
            "the verdict on the last sentence",
            "True, False or Neither",
            "if the facts support it, deny it or leave it open",
            "the logical status of the claim",
        ),
    ),
    "fact_qa": (
        "the name of a person and what is asked about them",
        (
            "the fact that is asked for",
            "the answer from what is known of the person",
            "the town or the thing in question",
            "what is true of this person",
            "the value of that attribute",
            "the known answer",
        ),
    ),
    "leftover": (
        "a shelf of things and those taken from it",
        (
            "the thing that is left",
            "what remains on the shelf",
            "the difference of the two lists",
            "the item that was not taken",
            "which object stays behind",
            "the rest after taking away",
        ),
    ),
    "membership": (
        "three things and the name of a class",
        (
            "the thing that belongs to the class",
            "which of them is of that sort",
            "the member of the category",
            "the one that is such a thing",
            "the item of the named type",
            "what falls under the heading",
        ),
    ),
    "multi_hop": (
        "a person and what is asked about their friend",
        (
            "what is true of the friend",
            "the friend's job or town",
            "the fact two steps away",
            "the answer by way of the friend",
            "what the ally has or does",
            "the second link of the chain",
        ),
    ),
    "odd_one_out": (
        "four things",
        (
            "the one that does not belong",
            "which is of another sort than the rest",
            "the intruder",
            "the thing of a different class",
            "the odd item",
            "what the other three exclude",
        ),
    ),
    "passage_yesno": (
        "a short passage and a question about it",
        (
            "yes or no",
            "whether the passage says so",
            "if the statement holds in the text",
            "the reply to the yes-no question",
            "an affirmation or a denial",
            "whether it is the case",
        ),
    ),
    "pronoun": (
        "two people, what one of them did, and a pronoun",
        (
            "the person that the pronoun means",
            "who it refers to",
            "the one who did it",
            "the name behind he or she",
            "the antecedent",
            "which of the two is meant",
        ),
    ),
    "time_order": (
        "two deeds of a person, and 'First' or 'Last'",
        (
            "the deed that was first or last, as asked",
            "the earlier or the later deed",
            "which of the two has that place in time",
            "what was done at the named end",
            "the event in that position of the order",
            "the deed of the asked rank",
        ),
    ),
}


def descriptions_of(task: str) -> Descriptions:
    """What is said of the task; KeyError for an unknown one."""
    shown, wordings = _WORDINGS[task]
    return describe(shown, wordings, "{a}")
