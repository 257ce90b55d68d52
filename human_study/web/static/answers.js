// What a page takes as its answer, by kind (`answer` in the server's description of a trial). A kind is a class:
//   constructor(trial, texts, draft, changed)  draft: of an earlier visit; changed(): called when the answer has changed
//   column(track)     elements in the column of a clip
//   foot()            an element below the columns, or null
//   unrated(track)    what the column lacks, one line, or null
//   missing()         what the page lacks besides, a list of lines
//   body()            the answer, as fields of the request and of the draft

import { Labels } from "./labels.js";
import { Match } from "./match.js";
import { Preference } from "./preference.js";
import { Sliders } from "./sliders.js";

export const ANSWERS = { slider: Sliders, label: Labels, preference: Preference, match: Match };
