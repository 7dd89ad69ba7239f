"""Messages of one line: the nearest name, the errors of other libraries; configs are in test_config.py."""

from portal.messages import nearest, one_line


def test_nearest_suggests_a_close_word_and_otherwise_lists_all() -> None:
    assert nearest("sead", ["seed", "size"]) == "; did you mean 'seed'?"
    assert nearest("xyz", ["seed", "bases"]) == "; known: bases, seed"


def test_a_message_is_one_line_and_an_empty_one_is_the_name_of_its_class() -> None:
    assert one_line(ValueError("no\n  such\tfile\n")) == "no such file"
    assert one_line(TimeoutError()) == "TimeoutError"
    assert one_line(ValueError("x" * 50), most=10) == "xxxxxxx..."
