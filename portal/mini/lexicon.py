"""The closed vocabulary of the small world: towns, jobs, foods, kinds of things, deeds, causes."""


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOWNS = words("Dorvale Kestmoor Lunford Mirwick Nashport Oakham Pellin Quarby Rostel Sundale Tarmouth Velden")
JOBS = words("baker farmer smith teacher sailor doctor tailor miner painter cook hunter singer")
FOODS = words("bread soup rice cheese honey cake beans eggs nuts corn milk salt")
AGES = words("twenty thirty forty fifty sixty")
COLOURS = words("red blue green black white brown pink grey")
PLACES = words("kitchen garden mill barn shop cellar tower yard")
NUMBERS = ("one", "two", "three", "four", "five")

KINDS = {
    "bird": words("crow hen duck owl swan goose robin dove"),
    "fish": words("trout carp eel pike cod perch shark tuna"),
    "beast": words("cow dog cat goat horse fox bear wolf"),
    "tool": words("hammer saw axe spade rake drill chisel file"),
    "fruit": words("plum pear apple fig cherry grape lemon peach"),
    "garment": words("hat coat shirt scarf glove boot belt cloak"),
    "dish": words("cup bowl plate jug pan spoon fork pot"),
    "instrument": words("drum flute harp bell horn fiddle pipe lute"),
}
PORTABLE = KINDS["tool"] + KINDS["fruit"] + KINDS["garment"] + KINDS["dish"] + KINDS["instrument"]
"""Things that a person can hold, take and give."""

DEEDS = words("swam sang slept danced laughed cried jumped prayed read wrote cooked fished drew rested")

CHAINS = (
    ("{p} ran too fast", "{p} fell down", "{p} hurt a knee"),
    ("{p} ate nothing all day", "{p} grew hungry", "{p} made a big soup"),
    ("{p} lost the lamp", "{p} stood in the dark", "{p} walked into a door"),
    ("{p} stayed up all night", "{p} felt tired", "{p} slept at work"),
    ("{p} walked in the rain", "{p} got wet", "{p} put on dry clothes"),
    ("{p} ate bad fish", "{p} became sick", "{p} called a doctor"),
    ("{p} won the race", "{p} got a prize", "{p} gave a speech"),
    ("{p} told a lie", "{p} felt shame", "{p} said sorry"),
    ("{p} dropped the jug", "{p} spilled the milk", "{p} cleaned the floor"),
    ("{p} forgot the key", "{p} was locked out", "{p} climbed through a window"),
    ("{p} worked very hard", "{p} earned much money", "{p} bought a house"),
    ("{p} heard a joke", "{p} laughed loudly", "{p} woke the baby"),
    ("{p} saw a wolf", "{p} was afraid", "{p} ran home"),
    ("{p} left the fire alone", "{p} burned the cake", "{p} baked another one"),
    ("{p} broke the plough", "{p} missed the planting", "{p} had no harvest"),
    ("{p} took a wrong turn", "{p} was lost", "{p} asked for the way"),
    ("{p} drank no water", "{p} became thirsty", "{p} went to the well"),
    ("{p} trained every day", "{p} grew strong", "{p} lifted the stone"),
    ("{p} forgot the coat", "{p} felt cold", "{p} lit a fire"),
    ("{p} found a coin", "{p} had good luck", "{p} told everyone"),
    ("{p} teased the dog", "{p} was bitten", "{p} needed a bandage"),
    ("{p} opened the cage", "{p} freed the bird", "{p} heard no more songs"),
    ("{p} studied the book", "{p} passed the test", "{p} became a teacher"),
    ("{p} missed the boat", "{p} arrived late", "{p} lost the job"),
    ("{p} planted seeds", "{p} grew flowers", "{p} sold roses"),
    ("{p} stole a horse", "{p} was caught", "{p} went to jail"),
    ("{p} sat in the sun", "{p} turned red", "{p} looked for shade"),
    ("{p} helped a stranger", "{p} made a friend", "{p} was invited to dinner"),
    ("{p} pulled the rope", "{p} rang the bell", "{p} called the town together"),
    ("{p} sang all evening", "{p} lost the voice", "{p} drank warm honey"),
    ("{p} cut the wood", "{p} got a splinter", "{p} wore gloves after that"),
    ("{p} moved away", "{p} felt alone", "{p} wrote many letters"),
    ("{p} shook the tree", "{p} gathered apples", "{p} cooked sweet jam"),
    ("{p} broke a promise", "{p} made people angry", "{p} hid in the cellar"),
    ("{p} dug a hole", "{p} found old gold", "{p} became rich"),
    ("{p} left the gate open", "{p} lost the sheep", "{p} searched the hills"),
    ("{p} spent everything", "{p} was poor", "{p} begged for bread"),
    ("{p} mixed the paint", "{p} finished the picture", "{p} hung it on the wall"),
    ("{p} threw a stone", "{p} broke the glass", "{p} paid for a new one"),
    ("{p} slept too long", "{p} missed breakfast", "{p} ate twice at noon"),
)
"""Cause, middle, effect: each event brings about the next. `{p}` is any person."""
