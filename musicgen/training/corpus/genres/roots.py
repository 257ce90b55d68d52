"""Jazz, blues and folk traditions."""

from musicgen.training.corpus.genre import Bass, Genre, Groove, Layer

JAZZ = Genre(
    name="jazz",
    words=("jazz", "swing jazz", "jazz combo", "straight-ahead jazz"),
    tempo=(138, 176),
    modes=(("major", 0.7), ("minor", 0.3)),
    major=(
        ("Imaj7 vi7 ii7 V7", "iii7 vi7 ii7 V7"),
        ("ii7 V7 Imaj7 I6", "IVmaj7 iv6 iii7,VI7 ii7,V7"),
        ("Imaj7 VI7 ii7 V7", "III7 VI7 II7 V7"),
    ),
    minor=(("i6 iv7 iim7b5,V7b9 i6", "iv7 bVII7 bIIImaj7 V7b9"), ("i7 iim7b5 V7b9 i6", "iv7 i6 iim7b5 V7b9")),
    cadences=("ii7,V7", "iim7b5,V7"),
    melody="jazz",
    feel=0.85,
    leads=("trumpet", "tenor saxophone", "clarinet", "vibraphone"),
    layers=(
        Layer(
            "comping",
            ("piano", "jazz guitar"),
            ("x.....x.........", "......x.......x.|..x.......x.....", "x.....x...x....."),
            (52, 67),
            4,
            -11.0,
            "{} comping",
        ),
    ),
    bass=Bass(("double bass",), ("r-w-w-a-", "r-3-5-a-", "r-w-5-a-"), 31, -5.0, "a walking {}"),
    kits=("jazz drums", "brushed drums"),
    grooves=(
        Groove(
            (
                ("ride", "X...X.x.X...X.x."),
                ("pedal", "....x.......x..."),
                ("kick", "o...o...o...o..."),
                ("snare", "..............o.|......o........."),
            ),
            "a swinging ride cymbal",
            "swing",
        ),
    ),
    forms=("A A' B A'",),
    bright_moods=("swinging", "lively", "sophisticated", "cheerful"),
    dark_moods=("smoky", "cool", "sophisticated", "late-night"),
    swing=0.64,
    looseness=0.008,
    drum_level=-6.0,
    reverb=0.9,
)

BLUES = Genre(
    name="blues",
    words=("blues", "electric blues", "blues shuffle", "twelve-bar blues"),
    tempo=(80, 108),
    modes=(("mixolydian", 0.7), ("minor", 0.3)),
    major=(("I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"),),
    minor=(("i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7", "i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7"),),
    cadences=("V7", "V7"),
    melody="blues",
    scale="blues",
    leads=("harmonica", "overdriven guitar", "piano"),
    layers=(
        Layer(
            "rhythm guitar",
            ("clean guitar", "jazz guitar"),
            ("x-xx-xx-xx-x", "x-xx-xx-xX-x"),
            (43, 60),
            3,
            -11.0,
            "a shuffling {}",
            strum=0.008,
        ),
        Layer("keys", ("organ",), ("x-----------",), (55, 69), 3, -15.0, "a quiet {}", 0.5),
    ),
    bass=Bass(
        ("electric bass", "double bass"),
        ("r-r3-35-57-5", "r--3--5--7--", "r--3--5--a--"),
        31,
        -5.0,
        "a shuffling {} line",
    ),
    kits=("drums",),
    grooves=(
        Groove(
            (("kick", "X....xX....x"), ("snare", "...X.....X.."), ("ride", "X.xX.xX.xX.x")), "a blues shuffle", "swing"
        ),
        Groove(
            (("kick", "X.....X....x"), ("snare", "...X.....X.."), ("hat", "X.xX.xX.xX.x")), "a blues shuffle", "swing"
        ),
    ),
    forms=("A A'",),
    bright_moods=("soulful", "gritty", "relaxed", "earthy"),
    dark_moods=("moody", "soulful", "lonesome"),
    looseness=0.010,
    drum_level=-5.0,
    reverb=0.9,
)

REGGAE = Genre(
    name="reggae",
    words=("reggae", "roots reggae", "reggae groove"),
    tempo=(70, 86),
    modes=(("major", 0.6), ("minor", 0.4)),
    major=(("I IV I V", "vi IV I V"), ("I I IV V", "IV V I I"), ("I IV I I", "vi IV I V")),
    minor=(("i iv i v", "bVI bVII i i"), ("i bVII i bVII", "iv iv i i")),
    cadences=("V", "V"),
    melody="laid back",
    leads=("organ", "trombone", "harmonica"),
    layers=(
        Layer(
            "skank",
            ("clean guitar", "piano"),
            ("....X.......X...", "..x...x...x...x."),
            (57, 71),
            3,
            -9.0,
            "an offbeat {} skank",
        ),
        Layer("bubble", ("organ",), ("..1..12...1..12.", "..xx..xx..xx..xx"), (50, 64), 3, -14.0, "a bubbling {}", 0.8),
    ),
    bass=Bass(
        ("electric bass",), ("r---r-5-r---..5-", "r-----5-r---3-5-", "r--r--..r---r-5-"), 33, -3.5, "a heavy {} line"
    ),
    kits=("drums",),
    grooves=(
        Groove(
            (("kick", "........X......."), ("rim", "........X......."), ("hat", "x.x.x.xox.x.x.xo")),
            "a one-drop beat",
            "toms",
        ),
        Groove(
            (("kick", "X...X...X...X..."), ("rim", "........X......."), ("hat", "..x...x...x...x.")),
            "a steppers beat",
            "toms",
        ),
    ),
    forms=("A A' B A'", "A A'"),
    bright_moods=("sunny", "laid-back", "easygoing", "relaxed"),
    dark_moods=("laid-back", "meditative", "hazy"),
    swing=0.56,
    swing_unit=0.5,
    looseness=0.007,
    reverb=1.4,
    wet=-14.0,
)

COUNTRY = Genre(
    name="country",
    words=("country", "country and western", "country song", "bluegrass-tinged country"),
    tempo=(104, 126),
    modes=(("major", 1.0),),
    major=(("I IV V I", "IV I V I"), ("I I IV V", "IV I II7 V"), ("I V I IV", "IV V I I")),
    minor=(),
    cadences=("V", "V"),
    melody="country",
    scale="pentatonic",
    answers=True,
    leads=("fiddle", "clean guitar", "harmonica"),
    layers=(
        Layer(
            "rhythm guitar",
            ("acoustic guitar",),
            ("....X.xx....X.xx", "1...X.x.2...X.x."),
            (48, 67),
            4,
            -9.0,
            "{} strumming",
            strum=0.010,
        ),
        Layer(
            "picking",
            ("banjo",),
            ("1324132413241324", "1.2.3.4.1.2.3.4."),
            (55, 72),
            4,
            -13.0,
            "rolling {} picking",
            0.5,
        ),
    ),
    bass=Bass(
        ("double bass", "electric bass"), ("r---....5---....", "r---....5---..a-"), 33, -5.0, "an alternating {}"
    ),
    kits=("brushed drums", "drums"),
    grooves=(
        Groove((("kick", "X.......X......."), ("snare", "x.oxX.oxx.oxX.ox")), "a train beat", "snare"),
        Groove(
            (("kick", "X.......X......."), ("snare", "....X.......X..."), ("hat", "x.x.x.x.x.x.x.x.")),
            "a two-step beat",
            "snare",
        ),
    ),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("cheerful", "down-home", "easygoing", "warm"),
    dark_moods=("lonesome",),
    looseness=0.007,
    drum_level=-5.0,
    reverb=0.8,
)

CELTIC = Genre(
    name="celtic",
    words=("celtic folk", "Irish jig", "celtic", "traditional Irish folk"),
    tempo=(104, 120),
    modes=(("major", 0.6), ("dorian", 0.4)),
    major=(("I I IV V", "vi IV I,V I"), ("I IV I V", "IV I ii V"), ("I V vi V", "IV I V I")),
    minor=(("i bVII i bVII", "i bIII bVII i"), ("i i bVII bVII", "bIII bVII i i")),
    cadences=("V", "bVII"),
    melody="jig",
    answers=True,
    leads=("tin whistle", "fiddle", "accordion"),
    metre="6/8",
    layers=(
        Layer(
            "rhythm guitar", ("acoustic guitar",), ("X-xX-x", "X-xXxx"), (48, 67), 4, -10.0, "strummed {}", strum=0.010
        ),
        Layer("harp", ("harp",), ("1-2-3-", "123432"), (55, 72), 4, -12.0, "{} figures", 0.6),
    ),
    bass=Bass(("double bass",), ("r--5--", "r-----"), 33, -8.0),
    kits=("drums",),
    grooves=(Groove((("tomlow", "Xooxoo"), ("tambourine", "..x..x")), "a hand-drum jig rhythm", None),),
    forms=("A A' B B'", "A A B B'"),
    bright_moods=("lively", "joyful", "dancing", "pastoral"),
    dark_moods=("lively", "wistful", "windswept"),
    looseness=0.006,
    drum_level=-8.0,
    reverb=1.3,
)

GENRES = (JAZZ, BLUES, REGGAE, COUNTRY, CELTIC)
