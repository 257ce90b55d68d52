"""Music of machines."""

from musicgen.training.corpus.genre import Bass, Genre, Groove, Layer

HOUSE = Genre(
    name="house",
    words=("house", "house music", "deep house", "electronic dance music", "club track"),
    tempo=(120, 128),
    modes=(("minor", 0.8), ("major", 0.2)),
    major=(("I vi IV V", "IV V vi I"),),
    minor=(("i7 bVI i7 bVII", "iv7 i7 bVI bVII"), ("i7 i7 bVI bVII", "bVI bVII i7 i7")),
    cadences=("V", "v7"),
    melody="electronic",
    leads=("synth lead", "piano", "vibraphone"),
    layers=(
        Layer(
            "stabs",
            ("polysynth",),
            ("..x...x...x...x.", "x..x..x...x..x..", "..x..x....x..x.."),
            (55, 70),
            4,
            -11.0,
            "offbeat {} stabs",
        ),
        Layer("pad", ("synth pad",), ("x---------------",), (50, 67), 4, -14.0, "a warm {}", 0.6),
    ),
    bass=Bass(
        ("synth bass",), ("..r...r...r...r.", "..rr..rr..rr..8r", "..r...8...r...8."), 33, -4.0, "a pumping offbeat {}"
    ),
    kits=("drum machine", "electronic drums"),
    grooves=(
        Groove(
            (
                ("kick", "X...X...X...X..."),
                ("clap", "....X.......X..."),
                ("open", "..x...x...x...x."),
                ("hat", "x.xox.xox.xox.xo"),
            ),
            "a four-on-the-floor beat",
            "claps",
        ),
        Groove(
            (
                ("kick", "X...X...X...X..."),
                ("clap", "....X.......X..."),
                ("open", "..X...X...X...X."),
                ("shaker", "xoxxxoxxxoxxxoxx"),
            ),
            "a four-on-the-floor beat",
            "claps",
        ),
    ),
    forms=("A A' B A'", "A A' A B"),
    bright_moods=("euphoric", "danceable", "uplifting"),
    dark_moods=("hypnotic", "danceable", "late-night", "driving"),
    looseness=0.0,
    drum_level=0.5,
    reverb=1.5,
    wet=-16.0,
)

DRUM_AND_BASS = Genre(
    name="drum and bass",
    words=("drum and bass", "dnb", "jungle", "liquid drum and bass"),
    tempo=(168, 176),
    modes=(("minor", 1.0),),
    major=(),
    minor=(("i7 i7 bVI bVI", "iv7 iv7 bVII bVII"), ("i bVI bIII bVII", "iv7 iv7 i7 i7")),
    cadences=("V", "v7"),
    melody="long",
    leads=("synth lead", "electric piano", "flute"),
    layers=(Layer("pad", ("synth pad", "strings"), ("x---------------",), (52, 69), 4, -12.0, "atmospheric {}"),),
    bass=Bass(
        ("synth bass",), ("r-------r-------", "r-----------r-8-", "r---r-----------"), 31, -3.5, "a deep rolling {}"
    ),
    kits=("electronic drums",),
    grooves=(
        Groove(
            (
                ("kick", "X.........X....."),
                ("snare", "....X..o....X..o"),
                ("hat", "X.o.X.o.X.o.X.o."),
                ("ride", "X...X...X...X..."),
            ),
            "a fast breakbeat",
            "snare",
        ),
        Groove(
            (
                ("kick", "X.......o.X....."),
                ("snare", "....X.....o.X.o."),
                ("hat", "X.ooX.ooX.ooX.oo"),
                ("crashride", "X...X...X...X..."),
            ),
            "a fast breakbeat",
            "snare",
        ),
    ),
    forms=("A A' B A'",),
    bright_moods=("energetic",),
    dark_moods=("energetic", "futuristic", "urgent", "atmospheric"),
    looseness=0.0,
    drum_level=0.0,
    reverb=1.8,
    wet=-15.0,
)

AMBIENT = Genre(
    name="ambient",
    words=("ambient", "ambient music", "ambient soundscape", "new age"),
    tempo=(60, 72),
    modes=(("major", 0.7), ("minor", 0.3)),
    major=(
        ("Imaj7 IVmaj7 Imaj7 IVmaj7", "vi7 IVmaj7 Iadd9 Vsus4"),
        ("Iadd9 Iadd9 IVmaj7 IVmaj7", "vi7 vi7 IVmaj7 Vsus4"),
    ),
    minor=(("i9 bVImaj7 i9 bVImaj7", "iv7 bVImaj7 i7 i7"),),
    cadences=("Vsus4", "bVII"),
    melody="ambient",
    scale="pentatonic",
    leads=("pan flute", "piano", "vibraphone"),
    layers=(
        Layer("pad", ("synth pad",), ("x---------------",), (50, 69), 5, -11.0, "a slowly moving {}"),
        Layer("choir", ("choir", "strings"), ("x---------------",), (57, 72), 3, -13.0, "distant {}", 0.7),
        Layer("arpeggio", ("harp",), ("1-2-3-4-3-2-1-2-",), (50, 69), 4, -13.0, "rippling {} notes", 0.5),
    ),
    bass=Bass(("synth pad",), ("r---------------",), 33, -11.0, "a low {} drone"),
    kits=(),
    grooves=(),
    forms=("A A' B A'", "A B"),
    bright_moods=("calm", "peaceful", "dreamy", "meditative", "relaxing"),
    dark_moods=("mysterious", "meditative", "melancholic", "floating"),
    looseness=0.012,
    reverb=3.5,
    wet=-8.0,
)

LOFI = Genre(
    name="lo-fi hip hop",
    words=("lo-fi hip hop", "lofi", "lo-fi beats", "chillhop", "lofi study beats"),
    tempo=(72, 88),
    modes=(("major", 0.5), ("minor", 0.5)),
    major=(("ii7 V7 Imaj7 vi7", "IVmaj7 iii7 ii7 Imaj7"), ("Imaj7 vi7 ii7 V7", "IVmaj7 V7 iii7 vi7")),
    minor=(("i9 iv9 bVImaj7 V7", "bVImaj7 bVII i7 i7"), ("i7 bVImaj7 iv7 i7", "iv7 bVII i9 i9")),
    cadences=("V7", "V7"),
    melody="laid back",
    scale="pentatonic",
    leads=("electric piano", "vibraphone", "nylon guitar"),
    layers=(
        Layer(
            "keys",
            ("electric piano", "jazz guitar"),
            ("x-------x--x----", "x--x------x-----", "x---------x-----"),
            (50, 67),
            4,
            -9.0,
            "mellow {} chords",
            strum=0.015,
        ),
    ),
    bass=Bass(("electric bass", "double bass"), ("r-----..r--5----", "r------r..r-----"), 31, -4.0, "a soft {}"),
    kits=("drum machine", "drums"),
    grooves=(
        Groove(
            (("kick", "X..x......x....."), ("snare", "....X.......X..."), ("hat", "x.x.x.x.x.x.x.xo")),
            "a dusty, laid-back beat",
            None,
        ),
        Groove(
            (("kick", "X.....x...x....."), ("rim", "....X.......X..."), ("hat", "x.x.x.x.x.x.x.x.")),
            "a dusty, laid-back beat",
            None,
        ),
    ),
    forms=("A A' B A'", "A A'"),
    bright_moods=("chill", "cozy", "relaxed", "warm"),
    dark_moods=("nostalgic", "mellow", "rainy-day", "melancholic"),
    swing=0.58,
    swing_unit=0.5,
    looseness=0.010,
    drum_level=-3.0,
    bandwidth=3800.0,
    crackle=-38.0,
    reverb=0.7,
)

SYNTHWAVE = Genre(
    name="synthwave",
    words=("synthwave", "retrowave", "80s synthwave", "80s synth music"),
    tempo=(86, 104),
    modes=(("minor", 1.0),),
    major=(),
    minor=(("i bVI bIII bVII", "iv bVI bVII i"), ("i bVII bVI bVII", "bVI bVII i i"), ("i i bVI bVII", "iv i bVI V")),
    cadences=("V", "V"),
    melody="soaring",
    leads=("synth lead", "brass section"),
    layers=(
        Layer(
            "arpeggio",
            ("polysynth",),
            ("1234123412341234", "1324132413241324", "1243124312431243"),
            (55, 74),
            4,
            -11.0,
            "pulsing {} arpeggios",
        ),
        Layer("pad", ("synth pad",), ("x---------------",), (50, 67), 4, -11.0, "a lush {}"),
    ),
    bass=Bass(
        ("synth bass",),
        ("rrrrrrrrrrrrrrrr", "rr8rrr8rrr8rrr8r", "r.rrr.rrr.rrr.rr"),
        33,
        -5.0,
        "a driving sixteenth-note {}",
    ),
    kits=("electronic drums",),
    grooves=(
        Groove(
            (("kick", "X...x...X...x..."), ("snare", "....X.......X..."), ("hat", "..x...x...x...x.")),
            "gated 80s drums",
            "toms",
        ),
    ),
    forms=("A A' B A'", "A B A' B'"),
    bright_moods=("nostalgic",),
    dark_moods=("nostalgic", "neon-lit", "dreamy", "moody"),
    looseness=0.0,
    drum_level=-2.0,
    reverb=2.2,
    wet=-12.0,
)

CHIPTUNE = Genre(
    name="chiptune",
    words=("chiptune", "8-bit", "8-bit video game music", "retro game music"),
    tempo=(140, 164),
    modes=(("major", 0.7), ("minor", 0.3)),
    major=(("I V vi IV", "IV V I vi"), ("I IV V I", "vi IV V V"), ("I bVII IV I", "bVI bVII I I")),
    minor=(("i bVI bVII i", "iv bVII bIII V"), ("i bVII bVI V", "i iv V i")),
    cadences=("V", "V"),
    melody="bouncy",
    leads=("square lead",),
    layers=(
        Layer(
            "arpeggio",
            ("square lead",),
            ("1232123212321232", "1231231212312312"),
            (55, 74),
            3,
            -11.0,
            "rapid {} arpeggios",
        ),
    ),
    bass=Bass(
        ("square lead",),
        ("r-r-8-r-r-r-8-r-", "r-5-r-5-r-5-r-5-", "r.8.r.8.r.8.r.8."),
        36,
        -7.0,
        "a bouncing square-wave bass",
    ),
    kits=("drum machine",),
    grooves=(
        Groove(
            (("kick", "X...x...X...x..."), ("hat", "..x...x...x...x."), ("snare", "....X.......X...")),
            "blippy drum hits",
            "snare",
        ),
        Groove(
            (("kick", "X.....x.X.....x."), ("hat", "x.x.x.x.x.x.x.x."), ("snare", "....X.......X...")),
            "blippy drum hits",
            "snare",
        ),
    ),
    forms=("A A' B A'", "A B A B'"),
    bright_moods=("playful", "adventurous", "cheerful", "energetic"),
    dark_moods=("adventurous", "urgent", "heroic"),
    looseness=0.0,
    drum_level=-8.0,
    reverb=0.3,
    wet=-30.0,
)

GENRES = (HOUSE, DRUM_AND_BASS, AMBIENT, LOFI, SYNTHWAVE, CHIPTUNE)
