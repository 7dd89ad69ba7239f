"""`ELEMENTS`: chemical elements and their symbols."""

from portal.words.table import Row, read_table


def _first_two_letters(row: Row) -> str:
    return row["element"][0][:2].capitalize()


def _outer_letters(row: Row) -> str:
    element = row["element"][0]
    return f"{element[0].upper()}{element[-1]}"


def _like_the_symbol(row: Row) -> str:
    """Another element that begins like this symbol, and has its second letter where there is such a one."""
    own, first, rest = row["element"][0], row["symbol"][0][0].lower(), row["symbol"][0][1:]
    others = [name for name in _NAMES if name.startswith(first) and name != own]
    return next((name for name in others if rest in name), others[0] if others else "")


_ELEMENTS = read_table(
    "element",
    """
element, symbol
aluminum, Al
antimony, Sb
argon, Ar
arsenic, As
barium, Ba
beryllium, Be
bismuth, Bi
boron, B
bromine, Br
cadmium, Cd
calcium, Ca
carbon, C
cerium, Ce
cesium, Cs
chlorine, Cl
chromium, Cr
cobalt, Co
copper, Cu
fluorine, F
gallium, Ga
germanium, Ge
gold, Au
helium, He
hydrogen, H
indium, In
iodine, I
iridium, Ir
iron, Fe
krypton, Kr
lead, Pb
lithium, Li
magnesium, Mg
manganese, Mn
mercury, Hg
molybdenum, Mo
neon, Ne
nickel, Ni
niobium, Nb
nitrogen, N
osmium, Os
oxygen, O
palladium, Pd
phosphorus, P
platinum, Pt
plutonium, Pu
polonium, Po
potassium, K
radium, Ra
radon, Rn
rhodium, Rh
rubidium, Rb
scandium, Sc
selenium, Se
silicon, Si
silver, Ag
sodium, Na
strontium, Sr
sulfur, S
tantalum, Ta
tellurium, Te
thallium, Tl
thorium, Th
tin, Sn
titanium, Ti
tungsten, W
uranium, U
vanadium, V
xenon, Xe
yttrium, Y
zinc, Zn
zirconium, Zr
""",
)
_NAMES = tuple(row["element"][0] for row in _ELEMENTS.rows)
ELEMENTS = (
    _ELEMENTS.with_column("first_two_letters", _first_two_letters)
    .with_column("outer_letters", _outer_letters)
    .with_column("namesake", _like_the_symbol)
)
"""The rivals of a symbol are letters of the name, some of them the symbol of another element; the rival of an
element is one that the symbol would fit as well."""
