"""`ADJECTIVES`: degrees of adjectives, their adverbs, and opposites of words of every kind."""

from portal.words.table import read_table

ADJECTIVES = read_table(
    "adjective",
    """
word, comparative, superlative, antonym, synonym, adverb
big, bigger, biggest, small/little/tiny/short/thin/narrow/minor/low, large,
small, smaller, smallest, big/large/great/tall/major/wide/long/high, little,
large, larger, largest, small/little/tiny/short/thin/narrow/minor/low, big,
tall, taller, tallest, short/small/low, lofty,
high, higher, highest, low/short/deep/down/bottom, tall, highly
low, lower, lowest, high/tall/loud/up/big, down,
long, longer, longest, short/brief, lengthy,
short, shorter, shortest, long/tall/high/big/deep, brief,
wide, wider, widest, narrow/thin/tight, broad, widely
narrow, narrower, narrowest, wide/broad/thick/loose/big, thin, narrowly
deep, deeper, deepest, shallow/high/light, profound, deeply
shallow, shallower, shallowest, deep, flat,
thick, thicker, thickest, thin/slim/narrow, dense, thickly
thin, thinner, thinnest, thick/fat/wide/heavy/full, slim, thinly
heavy, heavier, heaviest, light/thin, weighty, heavily
light, lighter, lightest, heavy/dark/deep/thick/hard/strong, weightless, lightly
dark, darker, darkest, light/bright/day, dim, darkly
bright, brighter, brightest, dark/dim/dull/stupid/foolish, shiny, brightly
hot, hotter, hottest, cold/cool, warm,
cold, colder, coldest, hot/warm, chilly, coldly
warm, warmer, warmest, cool/cold, hot, warmly
cool, cooler, coolest, warm/hot, cold, coolly
fast, faster, fastest, slow, rapid,
quick, quicker, quickest, slow, fast, quickly
slow, slower, slowest, fast/quick/rapid/bright/smart, sluggish, slowly
strong, stronger, strongest, weak/soft/light, powerful, strongly
weak, weaker, weakest, strong/hard/loud, feeble, weakly
soft, softer, softest, hard/loud/rough/firm/sharp/strong, gentle, softly
hard, harder, hardest, soft/easy/simple/weak, tough,
easy, easier, easiest, hard/difficult, simple, easily
difficult, , , easy/simple, hard,
simple, simpler, simplest, complex/complicated/hard/difficult, easy, simply
old, older/elder, oldest/eldest, young/new/modern/fresh, ancient,
young, younger, youngest, old/elderly, youthful,
new, newer, newest, old/ancient/used, modern, newly
rich, richer, richest, poor/cheap, wealthy, richly
poor, poorer, poorest, rich/wealthy/good, needy, poorly
happy, happier, happiest, sad/unhappy/angry, glad, happily
sad, sadder, saddest, happy/glad/cheerful, gloomy, sadly
good, better, best, bad/evil/poor/wicked/wrong/negative/cruel, nice, well
bad, worse, worst, good/nice/well/right/positive, awful, badly
clean, cleaner, cleanest, dirty, pure, cleanly
dirty, dirtier, dirtiest, clean/pure, filthy,
dry, drier/dryer, driest/dryest, wet/moist/damp, arid,
wet, wetter, wettest, dry, damp,
loud, louder, loudest, quiet/soft/silent/low, noisy, loudly
quiet, quieter, quietest, loud/noisy/busy, silent, quietly
brave, braver, bravest, cowardly/afraid/timid/weak, bold, bravely
smart, smarter, smartest, stupid/dumb/foolish/dull/slow, clever, smartly
stupid, , , smart/clever/intelligent/wise/bright/sharp, silly, stupidly
wise, wiser, wisest, foolish/stupid/silly/dumb, clever, wisely
kind, kinder, kindest, cruel/mean/unkind/nasty/bad/rude, gentle, kindly
cruel, , , kind/gentle/merciful/nice/good, harsh, cruelly
safe, safer, safest, dangerous/unsafe/risky, secure, safely
dangerous, , , safe/secure, risky, dangerously
cheap, cheaper, cheapest, expensive/dear/costly/rich/good, affordable, cheaply
expensive, , , cheap/inexpensive/affordable, costly,
early, earlier, earliest, late/last, soon,
late, later, latest, early/first, tardy,
sharp, sharper, sharpest, dull/blunt/smooth/stupid/foolish/soft, keen, sharply
dull, duller, dullest, sharp/bright/smart/shiny, boring,
rough, rougher, roughest, smooth/soft/gentle/easy, coarse, roughly
smooth, smoother, smoothest, rough/coarse/bumpy/sharp, even, smoothly
full, fuller, fullest, empty/hungry/thin, complete, fully
empty, emptier, emptiest, full, vacant,
ugly, uglier, ugliest, beautiful/pretty, hideous,
pretty, prettier, prettiest, ugly, lovely, prettily
beautiful, , , ugly, pretty, beautifully
sweet, sweeter, sweetest, sour/bitter/dry, sugary, sweetly
fresh, fresher, freshest, stale/old/rotten, crisp, freshly
tight, tighter, tightest, loose/wide, firm, tightly
loose, looser, loosest, tight, slack, loosely
near, nearer, nearest, far/distant, close,
far, farther/further, farthest/furthest, near/close, distant,
true, truer, truest, false/untrue/wrong/fake, real, truly
false, , , true/real/right/correct, fake, falsely
right, , , wrong/left/false/bad, correct, rightly
wrong, , , right/correct/true/good, incorrect, wrongly
brief, briefer, briefest, long/lengthy, short, briefly
busy, busier, busiest, idle/free/lazy/empty/quiet, active, busily
lazy, lazier, laziest, , idle, lazily
angry, angrier, angriest, , mad, angrily
calm, calmer, calmest, , peaceful, calmly
clear, clearer, clearest, , plain, clearly
close, closer, closest, , near, closely
funny, funnier, funniest, , comic,
great, greater, greatest, , grand, greatly
hungry, hungrier, hungriest, , starving, hungrily
lucky, luckier, luckiest, , fortunate, luckily
nice, nicer, nicest, , pleasant, nicely
proud, prouder, proudest, , vain, proudly
careful, , , careless, cautious, carefully
certain, , , , sure, certainly
complete, , , , whole, completely
exact, , , , precise, exactly
final, , , , last, finally
honest, , , , sincere, honestly
polite, , , rude, civil, politely
private, , , public, personal, privately
public, , , private, open, publicly
real, , , fake/false, actual, really
recent, , , , new, recently
serious, , , , grave, seriously
sudden, , , , abrupt, suddenly
usual, , , , normal, usually
alive, , , dead, living,
dead, , , alive/living, lifeless,
open, , , closed/shut/private, ajar, openly
major, , , minor/small, main,
positive, , , negative/bad, favourable, positively
first, , , last/final/late/back, initial,
up, , , down/low/bottom, above,
down, , , up/high, below,
in, , , out/outside, into,
inside, , , outside/out, within,
top, , , bottom/low/down, peak,
front, , , back/rear/last, face,
before, , , after/later/late/back/last, earlier,
always, , , never, forever,
day, , , night/dark, morning,
summer, , , winter/cold, spring,
north, , , south, northern,
east, , , west, eastern,
love, , , hate/enemy/war, adore,
buy, , , sell, purchase,
begin, , , end/finish/stop, start,
win, , , lose/defeat/failure, gain,
push, , , pull, shove,
give, , , take/receive, donate,
arrive, , , leave/depart/exit, come,
remember, , , forget, recall,
friend, , , enemy/foe, pal,
war, , , peace, battle,
life, , , death/dead, living,
heaven, , , hell, paradise,
question, , , answer, query,
success, , , failure/defeat/lose, triumph,
victory, , , defeat/failure/lose, triumph,
increase, , , decrease/reduce, grow,
accept, , , reject/refuse, agree,
laugh, , , cry/weep, giggle,
teach, , , learn, instruct,
strength, , , weakness/weak, power,
""",
)
"""Synonyms are rivals only."""
