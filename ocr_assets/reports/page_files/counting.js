// Counts what thresholds would do, from the small tables in #data. explorer.js, which shows it,
// follows in the same script.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const VERDICTS = ["keep", "drop", "quarantine"];
const [KEEP, DROP, QUARANTINE] = [0, 1, 2];
const thresholds = data.thresholds;

function decoded(text, Type) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Type(bytes.buffer);
}

function inflated(text) {
  const deflated = new Blob([decoded(text, Uint8Array)]).stream();
  return new Response(deflated.pipeThrough(new DecompressionStream("deflate"))).json();
}

const decodedProfiles = (encoded) => ({
  verdicts: decoded(encoded.verdicts, Uint8Array),
  unread: decoded(encoded.unread, Uint8Array),
  lengths: decoded(encoded.lengths, Uint32Array),
  cells: decoded(encoded.cells, Uint16Array),
  counts: decoded(encoded.counts, Uint32Array),
});
const profiles = {}; // by metric
async function readProfiles() {
  for (const [metric, encoded] of Object.entries(await inflated(data.profiles))) {
    profiles[metric] = decodedProfiles(encoded);
  }
}

const placeOf = (bound) => {
  const place = thresholds.findIndex((threshold) => threshold >= bound);
  return place < 0 ? thresholds.length - 1 : place;
};
const bounds = (choice) => [thresholds[choice.low], thresholds[choice.high]];

// A sample's verdict, as `judge_sample` gives it.
function verdict(within, outside, unread, anyOrAll) {
  if (within + outside + unread === 0) return KEEP;
  if (anyOrAll === "any" && within) return KEEP;
  if (anyOrAll === "all" && outside) return DROP;
  if (unread) return QUARANTINE;
  return outside ? DROP : KEEP;
}

// moves[now][then] is how many samples go from one verdict to the other.
function countMoves(choice) {
  const moves = VERDICTS.map(() => [0, 0, 0]);
  VERDICTS.forEach((name, now) => (moves[now][now] = data.without_videos[name]));
  const { verdicts, unread, lengths, cells, counts } = profiles[choice.metric];
  const [first, last] = [2 * choice.low, 2 * choice.high];
  let begin = 0;
  for (let index = 0; index < counts.length; index++) {
    let within = 0;
    const end = begin + lengths[index];
    for (let place = begin; place < end; place++) {
      if (cells[place] >= first && cells[place] <= last) within++;
    }
    const then = verdict(within, end - begin - within, unread[index], choice.anyOrAll);
    moves[verdicts[index]][then] += counts[index];
    begin = end;
  }
  return moves;
}

function exampleVerdict(example, choice) {
  const ratios = example.ratios[choice.metric];
  if (ratios.length === 0) return VERDICTS.indexOf(example.verdict);
  const [low, high] = bounds(choice);
  const known = ratios.filter((ratio) => ratio !== null);
  const within = known.filter((ratio) => ratio >= low && ratio <= high).length;
  return verdict(within, known.length - within, ratios.length - known.length, choice.anyOrAll);
}

