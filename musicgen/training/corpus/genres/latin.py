"""Brazil, Cuba, Argentina and Trinidad."""

from musicgen.training.corpus.genre import Bass, Genre, Groove, Layer

BOSSA = Genre(
    name="bossa nova",
    words=("bossa nova", "Brazilian bossa nova", "bossa", "latin lounge"),
    tempo=(120, 140),
    modes=(("major", 0.7), ("minor", 0.3)),
    major=(
        ("Imaj7 Imaj7 II7 II7", "ii7 V7 Imaj7 V7"),
        ("Imaj7 vi7 ii7 V7", "IVmaj7 iv6 iii7,VI7 ii7,V7"),
        ("Imaj9 I6 ii7 V7", "iii7 vi7 ii7 V7"),
    ),
    minor=(("i6 iim7b5 V7b9 i6", "iv7 bVII7 bIIImaj7 V7"), ("i7 iv7 V7 i7", "iv7 i7 iim7b5 V7")),
    cadences=("ii7,V7", "iim7b5,V7"),
    melody="bossa",
    feel=0.75,
    leads=("flute", "tenor saxophone", "nylon guitar"),
    layers=(
        Layer(
            "rhythm guitar",
            ("nylon guitar",),
            ("x--x--x---x--x--", "x-x-x--x--x-x---"),
            (52, 67),
            4,
            -9.0,
            "a syncopated {}",
            strum=0.006,
        ),
        Layer("keys", ("electric piano",), ("x---------------",), (57, 71), 4, -15.0, "soft {} chords", 0.4),
    ),
    bass=Bass(("double bass",), ("r-----5-5-----r-", "r-----r-5-----5-"), 31, -5.0, "a gentle {}"),
    kits=("brushed drums", "latin percussion"),
    grooves=(
        Groove(
            (
                ("rim", "o..o..o...o..o.."),
                ("pedal", "....X.......X..."),
                ("shaker", "XoooXoooXoooXooo"),
                ("kick", "X..oX..oX..oX..o"),
            ),
            "a soft bossa rim-click pattern",
            None,
        ),
    ),
    forms=("A B A' B'", "A A' B A'"),
    bright_moods=("breezy", "romantic", "relaxed", "elegant"),
    dark_moods=("wistful", "intimate", "romantic"),
    looseness=0.007,
    drum_level=-6.0,
    reverb=1.0,
)

SALSA = Genre(
    name="salsa",
    words=("salsa", "latin salsa", "Afro-Cuban salsa", "Cuban dance music"),
    tempo=(180, 204),
    modes=(("minor", 0.6), ("major", 0.4)),
    major=(("I IV V IV", "I VI7 ii7 V7"), ("I IV I V7", "IV I V7 I")),
    minor=(("i iv V7 i", "i bVII bVI V7"), ("i bVII bVI i", "iv i V7 i")),
    cadences=("V7", "V7"),
    melody="salsa",
    feel=0.7,
    leads=("trumpet", "flute", "trombone"),
    layers=(
        Layer("montuno", ("piano",), ("X.xx.xx.|.xx.xx.x", "X.x.xx.x|.x.xx.x."), (55, 74), 3, -8.0, "a {} montuno"),
        Layer(
            "stabs",
            ("brass section",),
            ("................|............X.X.", "X...............|................"),
            (57, 70),
            3,
            -12.0,
            "{} hits",
            0.6,
        ),
    ),
    bass=Bass(("electric bass", "double bass"), ("r..5--8-", "r..5--r-"), 31, -4.0, "a tumbao {} line"),
    kits=("latin percussion",),
    grooves=(
        Groove(
            (
                ("claves", "..X.X...|X..X..X."),
                ("conga_mute", "x.x.x.x."),
                ("conga", "......xx"),
                ("conga_low", "...x...."),
                ("cowbell", "X.o.X.o."),
                ("timbale", "x.xxx.xx"),
            ),
            "congas, cowbell and clave",
            "timbales",
        ),
        Groove(
            (
                ("claves", "X..X..X.|..X.X..."),
                ("conga_mute", "x.x.x..."),
                ("conga", "......xx"),
                ("cowbell", "X.ooX.oo"),
                ("cabasa", "xoxoxoxo"),
            ),
            "congas, cowbell and clave",
            "timbales",
        ),
    ),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("festive", "danceable", "fiery", "joyful"),
    dark_moods=("fiery", "passionate", "danceable"),
    looseness=0.005,
    drum_level=-4.0,
    reverb=0.8,
)

TANGO = Genre(
    name="tango",
    words=("tango", "Argentine tango", "tango orchestra"),
    tempo=(112, 130),
    modes=(("minor", 1.0),),
    major=(),
    minor=(("i i V7 V7", "V7 V7 i i"), ("i iv V7 i", "bVI iv i V7"), ("i V7 i I7", "iv i V7 i")),
    cadences=("iv,V7", "iv,V7"),
    melody="tango",
    answers=True,
    leads=("bandoneon", "violin"),
    layers=(
        Layer(
            "piano",
            ("piano",),
            ("X...x...x...x...", "X.....x.x...x...", "X...x...X..xx..."),
            (48, 65),
            4,
            -8.0,
            "marcato {} chords",
        ),
        Layer(
            "strings",
            ("pizzicato strings", "strings"),
            ("X...x...x...x...", "x...............|X...x...x...x..."),
            (55, 69),
            3,
            -12.0,
            "accents in the {}",
            0.8,
        ),
    ),
    bass=Bass(
        ("double bass",), ("r-..r-..r-..r-..", "r-..5-..r-..5-..", "r-....r-r-..5-.."), 33, -6.0, "a marching {}"
    ),
    kits=(),
    grooves=(),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("passionate",),
    dark_moods=("passionate", "dramatic", "sensual", "melancholic"),
    looseness=0.008,
    reverb=1.2,
)

CALYPSO = Genre(
    name="calypso",
    words=("calypso", "Caribbean calypso", "soca", "steel band"),
    tempo=(104, 124),
    modes=(("major", 1.0),),
    major=(("I IV V I", "IV I V I"), ("I V V I", "I IV V I"), ("I vi ii V", "IV I V I")),
    minor=(),
    cadences=("V7", "V7"),
    melody="calypso",
    answers=True,
    leads=("steel drums",),
    layers=(
        Layer(
            "rhythm guitar",
            ("clean guitar", "acoustic guitar"),
            ("..xx..xx..xx..xx", "..x...x...x..xx."),
            (55, 70),
            3,
            -11.0,
            "an offbeat {}",
            strum=0.006,
        ),
        Layer(
            "marimba", ("marimba",), ("1.23.1.2.31.2.3.", "12.31.2.12.31.2."), (55, 70), 3, -12.0, "a {} pattern", 0.6
        ),
    ),
    bass=Bass(("electric bass",), ("r..5..8.r..5..8.", "r.....5.r.5.8..."), 33, -4.0, "a bouncing {}"),
    kits=("drums",),
    grooves=(
        Groove(
            (
                ("kick", "X...X...X...X..."),
                ("snare", "...x..x....x..x."),
                ("hat", "..x...x...x...x."),
                ("cowbell", "x.....x...x....."),
            ),
            "a soca beat",
            "snare",
        ),
        Groove(
            (("kick", "X..x..x.X..x..x."), ("rim", "...x..x....x..x."), ("cabasa", "xoxxxoxxxoxxxoxx")),
            "a calypso beat",
            "toms",
        ),
    ),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("sunny", "tropical", "carefree", "festive"),
    dark_moods=("sunny",),
    looseness=0.006,
    drum_level=-5.0,
    reverb=1.0,
)

GENRES = (BOSSA, SALSA, TANGO, CALYPSO)
