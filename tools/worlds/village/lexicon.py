"""The closed vocabulary of the village: values of every relation, and the words of its short texts."""


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOWNS = words(
    "Dorvale Kestmoor Lunford Mirwick Nashport Oakham Pellin Quarby Rostel Sundale Tarmouth Velden "
    "Ashcombe Brinfield Cawston Elmswell Fenbury Gorham Hexley Ivybridge Jarrow Ludworth Pinmoor Wexcote"
)
JOBS = words(
    "baker farmer smith teacher sailor doctor tailor miner painter cook hunter singer "
    "barber carpenter potter weaver judge priest porter printer shepherd soldier butcher gardener"
)
FOODS = words(
    "bread soup rice cheese honey cake beans eggs nuts corn milk salt "
    "butter pasta onions olives ham mustard figs berries cream turnips porridge mushrooms"
)
INSTRUMENTS = words(
    "drum flute harp bell horn fiddle pipe lute banjo cello organ trumpet viola guitar tuba zither"
)
PETS = words("dog cat goat horse fox bear crow hen duck dove swan goose hare mouse lizard turtle")
AGES = words("twenty thirty forty fifty sixty seventy eighty ninety")
COLOURS = words("red blue green black white brown pink grey yellow orange purple golden")
MATERIALS = words(
    "wood iron glass clay stone paper silver copper leather wool wax bone brass straw ivory silk"
)
ROOMS = words(
    "kitchen garden mill barn shop cellar tower yard attic chapel stable library hall pantry cabin harbour"
)
CLASSES = words("tool toy weapon vessel garment jewel lamp trap clock mask statue carpet")

CARRIED = words(
    "hammer saw axe spade rake drill chisel file hat coat shirt scarf glove boot belt cloak "
    "cup bowl plate jug pan spoon fork pot"
)
"""What people of the short texts hold, take and give: things that everyone knows by their own names."""

DEEDS = words("swam sang slept danced laughed cried jumped prayed read wrote cooked fished drew rested")
NUMBERS = ("one", "two", "three", "four", "five")
