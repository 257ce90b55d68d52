"""Rock, pop and their relatives."""

from musicgen.training.corpus.genre import Bass, Genre, Groove, Layer

ROCK = Genre(
    name="rock",
    words=("rock", "rock song", "classic rock", "guitar rock"),
    tempo=(112, 140),
    modes=(("major", 0.5), ("minor", 0.5)),
    major=(
        ("I I IV V", "vi IV I V"),
        ("I IV I V", "IV IV I V"),
        ("I V vi IV", "IV V I I"),
    ),
    minor=(
        ("i bVI bVII i", "bVI bVII i i"),
        ("i bVII bVI bVII", "iv bVI bVII i"),
        ("i i bVI bVII", "bIII bVII iv i"),
    ),
    cadences=("V", "V"),
    melody="rock",
    leads=("overdriven guitar", "organ"),
    scale="pentatonic",
    layers=(
        Layer(
            "rhythm guitar",
            ("overdriven guitar",),
            ("x-x-x-x-x-x-x-x-", "X-x-x-x-X-x-x-x-", "X---x-x-X---x-x-"),
            (40, 57),
            3,
            -11.0,
            "driving {} chords",
            strum=0.006,
        ),
        Layer(
            "rhythm guitar 2",
            ("clean guitar",),
            ("X-------X-------", "X---x---X---x---"),
            (52, 67),
            4,
            -13.0,
            "{} strumming",
            0.5,
            0.012,
        ),
    ),
    bass=Bass(
        ("picked bass", "electric bass"),
        ("r-r-r-r-r-r-r-r-", "r-r-r-r-r-r-5-a-", "r---r-r-r---r-r-"),
        words="a solid {}",
    ),
    kits=("rock drums",),
    grooves=(
        Groove(
            (("kick", "X.......X.x....."), ("snare", "....X.......X..."), ("hat", "X.x.X.x.X.x.X.x.")),
            "a straight rock beat",
        ),
        Groove(
            (("kick", "X.....x.X......."), ("snare", "....X.......X..."), ("hat", "X.x.X.x.X.x.X.x.")),
            "a straight rock beat",
        ),
        Groove(
            (("kick", "X..x..x.X.x....."), ("snare", "....X.......X..."), ("crashride", "X.x.X.x.X.x.X.x.")),
            "a pounding rock beat",
        ),
    ),
    forms=("A A' B A'", "A A' B B'", "A B A' B'"),
    bright_moods=("energetic", "uplifting", "confident", "anthemic"),
    dark_moods=("gritty", "intense", "rebellious", "driving"),
    looseness=0.006,
    reverb=0.8,
)

POP = Genre(
    name="pop",
    words=("pop", "pop song", "modern pop", "radio pop"),
    tempo=(98, 118),
    modes=(("major", 0.75), ("minor", 0.25)),
    major=(
        ("I V vi IV", "IV V iii vi"),
        ("vi IV I V", "IV I V V"),
        ("I vi IV V", "vi V IV V"),
    ),
    minor=(("i bVI bIII bVII", "iv i bVI bVII"), ("i iv bVI V", "bVI bVII i i")),
    cadences=("IV,V", "iv,V"),
    melody="pop",
    leads=("piano", "synth lead", "vibraphone"),
    layers=(
        Layer(
            "rhythm guitar",
            ("acoustic guitar",),
            ("X---x-xx.-x-x-xx", "X-x-x-xxX-x-x-xx"),
            (50, 67),
            4,
            -10.0,
            "strummed {}",
            strum=0.012,
        ),
        Layer("pad", ("synth pad", "strings"), ("x---------------",), (55, 72), 4, -14.0, "soft {}", 0.8),
    ),
    bass=Bass(("electric bass",), ("r--r--r-r---r-5-", "r-----r-r-----r-", "r---r---r---r-a-")),
    kits=("drums",),
    grooves=(
        Groove(
            (
                ("kick", "X.....x.X......."),
                ("snare", "....X.......X..."),
                ("clap", "....x.......x..."),
                ("hat", "x.o.x.o.x.o.x.o."),
                ("tambourine", "....x.......x..."),
            ),
            "a clean pop beat",
            "snare",
        ),
        Groove(
            (
                ("kick", "X..x..x...x....."),
                ("snare", "....X.......X..."),
                ("hat", "x.x.x.x.x.x.x.x."),
                ("shaker", "oxoxoxoxoxoxoxox"),
            ),
            "a clean pop beat",
            "snare",
        ),
    ),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("happy", "catchy", "feel-good", "bright"),
    dark_moods=("bittersweet", "emotional", "wistful"),
    looseness=0.004,
)

FUNK = Genre(
    name="funk",
    words=("funk", "funky groove", "70s funk"),
    tempo=(98, 112),
    modes=(("dorian", 0.6), ("mixolydian", 0.4)),
    major=(("I7 I7 IV7 I7", "IV7 IV7 I7 V7"), ("I9 I9 I9 IV9", "IV9 I9 IV9 V7")),
    minor=(("i7 i7 IV7 i7", "bVII bVII i7 i7"), ("i9 i9 i9 IV9", "iv7 iv7 i7 V7")),
    cadences=("V7", "V7"),
    melody="funk",
    leads=("tenor saxophone", "trumpet", "organ"),
    scale="pentatonic",
    layers=(
        Layer(
            "rhythm guitar",
            ("muted guitar", "clean guitar"),
            ("x.xx..x.x.xx..x.", "..xx.xx...xx.x.x", "x..x.x..x..x.xx."),
            (55, 69),
            3,
            -10.0,
            "scratchy {} riffs",
        ),
        Layer(
            "keys", ("clavinet",), ("1.2..1.3..1.2.1.", "1..2.1..3..1..2."), (48, 64), 3, -12.0, "a bubbling {}", 0.7
        ),
        Layer(
            "stabs",
            ("brass section",),
            ("......X.........|..........X.X...", "X..X............|................"),
            (55, 70),
            3,
            -12.0,
            "{} stabs",
            0.5,
        ),
    ),
    bass=Bass(
        ("slap bass",), ("r..r..8.r.5.7.a.", "r...8..r..r.8.7a", "r.r...8...r.5.8."), 31, -4.0, "a syncopated {}"
    ),
    kits=("drums",),
    grooves=(
        Groove(
            (
                ("kick", "X.x...x...x..x.."),
                ("snare", "....X..o.o..X..o"),
                ("hat", "xxxxxxxxxxxxxx.x"),
                ("open", "..............x."),
            ),
            "a tight syncopated funk groove",
            "snare",
        ),
        Groove(
            (("kick", "X..x....x.x....."), ("snare", "....X.oo.o..X.o."), ("hat", "x.xxx.xxx.xxx.xx")),
            "a tight syncopated funk groove",
            "snare",
        ),
    ),
    forms=("A A' B A'", "A A' A B"),
    bright_moods=("funky", "playful", "groovy", "danceable"),
    dark_moods=("funky", "cool", "groovy", "sly"),
    swing=0.53,
    swing_unit=0.5,
    reverb=0.5,
    wet=-20.0,
)

METAL = Genre(
    name="metal",
    words=("metal", "heavy metal", "thrash metal"),
    tempo=(150, 180),
    modes=(("minor", 1.0),),
    major=(),
    minor=(
        ("i5 i5 bVI5 bVII5", "bVI5 bVII5 i5 i5"),
        ("i5 bVI5 iv5 V5", "i5 bIII5 bVII5 i5"),
        ("i5 i5 bVII5 bVI5", "iv5 bVI5 bVII5 V5"),
    ),
    cadences=("V5", "V5"),
    melody="metal",
    leads=("distorted guitar",),
    layers=(
        Layer(
            "rhythm guitar",
            ("distorted guitar",),
            ("X-xxX-xxX-xxX-xx", "xxxxxxxxX---X---", "X-xxxxX-xxxxX-X-"),
            (40, 53),
            2,
            -10.0,
            "chugging {} riffs",
        ),
        Layer(
            "rhythm guitar 2",
            ("distorted guitar",),
            ("X---------------", "X-------X-------"),
            (45, 60),
            2,
            -14.0,
            "walls of {}",
        ),
    ),
    bass=Bass(("picked bass",), ("r-rrr-rrr-rrr-rr", "rrrrrrrrr---r---"), 28, -6.0, "a rumbling {}"),
    kits=("rock drums",),
    grooves=(
        Groove(
            (("kick", "xxxxxxxxxxxxxxxx"), ("snare", "....X.......X..."), ("crashride", "X...x...X...x...")),
            "relentless double-kick drums",
        ),
        Groove(
            (("kick", "X.xxX.xxX.xxX.xx"), ("snare", "....X.......X..."), ("crashride", "X.x.X.x.X.x.X.x.")),
            "galloping double-kick drums",
        ),
    ),
    forms=("A A' B A'", "A A B B'"),
    bright_moods=("heavy",),
    dark_moods=("aggressive", "heavy", "dark", "ferocious", "intense"),
    looseness=0.003,
    drum_level=-2.0,
    reverb=0.7,
    wet=-19.0,
)

RAGTIME = Genre(
    name="ragtime",
    words=("ragtime", "ragtime piano", "piano rag", "saloon piano"),
    tempo=(84, 104),
    modes=(("major", 1.0),),
    major=(
        ("I V7 I I7 IV #IVdim7 I,V7 I", "VI7 VI7 II7 II7 V7 V7 I V7"),
        ("I I V7 V7 V7 V7 I I", "IV IV I VI7 II7 V7 I I"),
    ),
    minor=(),
    cadences=("II7,V7", "V7"),
    melody="ragtime",
    answers=True,
    leads=("piano",),
    layers=(Layer("left hand", ("piano",), ("..x...x...x...x.",), (48, 62), 3, -9.0, "stride left hand on the {}"),),
    bass=Bass(("piano",), ("r.......5.......", "r.......8......."), 36, -7.0, "octaves in the left hand"),
    kits=(),
    grooves=(),
    forms=("A A' B B'",),
    bright_moods=("jaunty", "playful", "nostalgic", "cheerful"),
    dark_moods=("jaunty",),
    looseness=0.006,
    reverb=0.5,
)

GENRES = (ROCK, POP, FUNK, METAL, RAGTIME)
