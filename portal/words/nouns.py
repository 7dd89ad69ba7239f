"""`PLURALS` and `GENDERS`: plurals that an s alone does not form; words for male and female in pairs."""

from portal.words.table import read_table

PLURALS = read_table(
    "noun",
    """
singular, plural
alga, algae/algas
alumnus, alumni
analysis, analyses
axis, axes
baby, babies
bacterium, bacteria
basis, bases
berry, berries
body, bodies
box, boxes
brush, brushes
bus, buses/busses
businessman, businessmen
cactus, cacti/cactuses
calf, calves
cherry, cherries
child, children
church, churches
city, cities
class, classes
country, countries
crisis, crises
criterion, criteria/criterions
diagnosis, diagnoses
dish, dishes
echo, echoes/echos
elf, elves
emphasis, emphases
enemy, enemies
family, families
fireman, firemen
fly, flies
foot, feet
fox, foxes
fungus, fungi/funguses
gentleman, gentlemen
glass, glasses
goose, geese
grandchild, grandchildren
half, halves
hero, heroes
hypothesis, hypotheses
kiss, kisses
knife, knives
lady, ladies
larva, larvae/larvas
leaf, leaves
life, lives
loaf, loaves
louse, lice
man, men
match, matches
mouse, mice
nucleus, nuclei/nucleuses
oasis, oases
ox, oxen
party, parties
person, people/persons
phenomenon, phenomena/phenomenons
policeman, policemen
potato, potatoes
puppy, puppies
radius, radii/radiuses
sandwich, sandwiches
shelf, shelves
snowman, snowmen
stimulus, stimuli
story, stories
synthesis, syntheses
thesis, theses
thief, thieves
tomato, tomatoes
tooth, teeth
vertebra, vertebrae/vertebras
watch, watches
wife, wives
wish, wishes
wolf, wolves
woman, women
""",
).with_column("regular", lambda noun: f"{noun['singular'][0]}s")
"""Rivals are the singular itself and the word with an s."""

GENDERS = read_table(
    "pair",
    """
male, female, rival
abbot, abbess/nun, bishop
actor, actress, director
baron, baroness/lady, knight
boy, girl/lady, man
brother, sister, son
bridegroom, bride/wife, wedding
buck, doe, deer
bull, cow, calf
businessman, businesswoman, company
chairman, chairwoman, president
count, countess/lady, knight
cowboy, cowgirl, horse
dad, mom/mum/mother/mommy/mama, son
daddy, mommy/mummy/mom/mother/mama, grandpa
drake, duck, gander
duke, duchess/lady, knight
emperor, empress/queen, palace
father, mother/mom/mommy/mama, son
fireman, firewoman, policeman
gander, goose, drake
gentleman, lady/gentlewoman/woman/madam, man
god, goddess, hero
godfather, godmother, uncle
grandfather, grandmother/grandma, grandson
grandpa, grandma/grandmother, daddy
grandson, granddaughter, grandfather
he, she/woman/girl/lady/female, him
heir, heiress, fortune
hero, heroine, god
himself, herself, itself
host, hostess, guest
husband, wife/bride/widow, father
king, queen/empress, prince
landlord, landlady, tenant
lion, lioness, cub
lord, lady/madam/duchess/countess/baroness, knight
male, female/feminine/woman/girl, man
man, woman/lady, boy
masculine, feminine/female, neutral
monk, nun/abbess, priest
mister, missus/miss/madam/lady, sir
nephew, niece, uncle
papa, mama/mom/mommy/mother, uncle
peacock, peahen, rooster
policeman, policewoman, fireman
priest, priestess/nun/abbess, monk
prince, princess, king
ram, ewe, lamb
rooster, hen, duck
salesman, saleswoman, customer
schoolboy, schoolgirl, teacher
sir, madam/ma'am/miss/lady/missus, mister
sorcerer, sorceress/witch, wizard
spokesman, spokeswoman, speech
stallion, mare, foal
stepfather, stepmother, stepson
stepson, stepdaughter, stepfather
steward, stewardess, pilot
tiger, tigress, cub
uncle, aunt, nephew
waiter, waitress, cook
widower, widow, husband
wizard, witch/sorceress, monk
""",
)
