"""Texts of the page."""

from musicgen import catalog

TITLE = "MusicGen"
INTRODUCTION = "# MusicGen\nMusic from a description, a melody, or both."
EXAMPLES = {
    "Lofi": "lofi hip hop, slow, warm electric piano and soft drums",
    "90s rock": "90s rock song with electric guitar and heavy drums",
    "80s pop": "80s driving pop song with heavy drums and synth pads in the background",
    "String quartet": "string quartet, baroque, lively, in D minor",
    "Country": "a cheerful country song with acoustic guitars",
    "Techno": "dark techno, driving bass, 130 bpm",
}
"""Label -> description."""
EXAMPLE_MELODIES = {
    "violin-waltz.ogg": "Try a violin waltz",
    "harpsichord-line.ogg": "Try a harpsichord",
    "hummed-tune.ogg": "Try a hummed tune",
}
"""File -> label of its button."""
PROMPT_PLACEHOLDER = "Describe the music, or leave this empty and let the model choose"
TIMELINE_EXAMPLE = "0:10 the drums come in\n0:20 strings only, calm"
MELODY_IS_CLEAN = "Already clean (hummed, one instrument): skip the separation of drums and bass"
NOTES = f"""
{{where}}, and the clips are deleted after some hours. The models make instrumental music, and audiogen and audio-magnet make
sounds; they cannot sing. The published `facebook/` weights are licensed {catalog.WEIGHTS_LICENCE}, not for commercial use, and
are fetched from the hub when first chosen. A downloaded clip holds its settings: drop it on this page to get them back.
"""
COMPUTED_HERE = "Everything is computed on the machine that serves this page: nothing you enter goes anywhere else"
COMPUTED_ELSEWHERE = (
    "The music is made by a server that this page's operator chose: your descriptions and recordings go there"
)
REPAINT = (
    "Make a part of the clip anew: play it, press *Starts here* and *Ends here*, or type the seconds (a start below 0 adds "
    "to the beginning). The description on the left says what goes there."
)
OPENING = "Opening…"
"""Until the page has what its browser remembers."""
READY = "Ready."
WARMING_UP = "Getting ready: the model is being loaded. You can fill in the page meanwhile."
DAMAGED_MODEL = "choose another model, or tell the operator of the page"
"""Advice to visitors if a model's files are faulty."""
EDITOR_HINT = "The melody that the model follows. Click or drag to change a note; arrow keys work too."
