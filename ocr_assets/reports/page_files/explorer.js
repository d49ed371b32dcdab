// The page: its form, counts, chart, pictures and list, by what counting.js says.

const ROWS_SHOWN = 100;
const PICTURES_SHOWN = 12;
const RATIOS_SHOWN = 8; // of one sample
const HISTOGRAM_HEIGHT = 280;
const GRIP = 8; // pixels
const STILL = 3; // pixels that a hand moves without meaning it
const BLINK = 50; // milliseconds
const element = (id) => document.getElementById(id);

const inUse = {
  metric: data.rule.metric,
  anyOrAll: data.rule.any_or_all,
  low: placeOf(data.rule.min_area_ratio),
  high: placeOf(data.rule.max_area_ratio),
};
const chosen = { ...inUse };
let moved = "high";

const number = (value) => value.toLocaleString("en-US");

// As short as it can be read back, without an exponent, of which YAML would make a text.
function plain(value) {
  const [digits, power] = String(value).split("e-");
  return power ? `0.${"0".repeat(power - 1)}${digits.replace(".", "")}` : digits;
}

// Three decimals, or as many as tell on which side of the thresholds it lies.
function shown(ratio, choice) {
  if (ratio === null) return "-";
  for (let decimals = 3; decimals < 15; decimals++) {
    const text = ratio.toFixed(decimals);
    if (bounds(choice).every((bound) => Math.sign(text - bound) === Math.sign(ratio - bound))) {
      return text;
    }
  }
  return plain(ratio);
}

function shownAll(ratios, choice) {
  const texts = ratios.slice(0, RATIOS_SHOWN).map((ratio) => shown(ratio, choice));
  const more = ratios.length - texts.length;
  return texts.join(", ") + (more > 0 ? ` and ${number(more)} more` : "");
}

function made(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

// The word, and its colour beside it.
function withSwatch(name) {
  const swatch = made("span", undefined, `swatch ${name}`);
  swatch.setAttribute("aria-hidden", "true");
  return [swatch, name];
}

function showCounts(moves) {
  VERDICTS.forEach((name, index) => {
    const row = document.querySelector(`#counts tr[data-verdict=${name}]`);
    const now = moves[index].reduce((sum, count) => sum + count, 0);
    const then = moves.reduce((sum, from) => sum + from[index], 0);
    const cells = { now, then, come: then - moves[index][index], go: now - moves[index][index] };
    for (const [cell, value] of Object.entries(cells)) {
      row.querySelector(`.${cell}`).textContent = number(value);
    }
  });
  element("changed").textContent = changedSentence(moves);
}

function changedSentence(moves) {
  const changed = moves
    .flatMap((from, now) => from.filter((_, then) => then !== now))
    .reduce((sum, count) => sum + count, 0);
  if (changed === 0) return "No sample changes side.";
  return changed === 1 ? "1 sample changes side." : `${number(changed)} samples change side.`;
}

function say(moves) {
  const [kept, dropped, quarantined] = VERDICTS.map((_, then) =>
    number(moves.reduce((sum, from) => sum + from[then], 0)),
  );
  element("said").textContent =
    `${kept} kept, ${dropped} dropped, ${quarantined} quarantined. ${changedSentence(moves)}`;
}

function showSettings(choice) {
  const [low, high] = bounds(choice).map(plain);
  element("yaml").textContent =
    "ops:\n  filtered_dataset:\n    config:\n" +
    `      min_area_ratio: ${low}\n      max_area_ratio: ${high}\n` +
    `      metric: ${choice.metric}\n      any_or_all: ${choice.anyOrAll}\n`;
  element("command").textContent =
    `${data.command} --min-area-ratio ${low} --max-area-ratio ${high} ` +
    `--metric ${choice.metric} --any-or-all ${choice.anyOrAll} --apply`;
  element("environment").textContent = [
    ["MIN_AREA_RATIO", low],
    ["MAX_AREA_RATIO", high],
    ["METRIC", choice.metric],
    ["ANY_OR_ALL", choice.anyOrAll],
  ]
    .map(([name, value]) => `OCR_ASSETS_FILTERED_DATASET_${name}=${value}\n`)
    .join("");
}

function showRows(choice, moves) {
  const which = element("which").value;
  const wanted = (now, then) =>
    which === "all" || (which === "changed" ? now !== then : VERDICTS[then] === which);
  const rows = data.examples
    .map((example) => [example, exampleVerdict(example, choice)])
    .filter(([example, then]) => wanted(VERDICTS.indexOf(example.verdict), then));
  const bound = thresholds[choice[moved]];
  const distance = ([example]) =>
    Math.min(
      Infinity,
      ...example.ratios[choice.metric]
        .filter((ratio) => ratio !== null)
        .map((ratio) => Math.abs(ratio - bound)),
    );
  rows.sort((one, other) => distance(one) - distance(other) || 0);
  const body = document.querySelector("#rows tbody");
  body.replaceChildren(
    ...rows.slice(0, ROWS_SHOWN).map(([example, then]) => {
      const row = made("tr");
      const names = made("th");
      names.scope = "row";
      names.append(made("span", example.id, "name"), made("span", example.path, "path"));
      row.append(names);
      for (const side of [example.verdict, VERDICTS[then]]) {
        const cell = made("td", undefined, "verdict");
        cell.append(...withSwatch(side));
        row.append(cell);
      }
      if (VERDICTS[then] !== example.verdict) row.className = "changes";
      for (const metric of data.metrics) {
        row.append(made("td", shownAll(example.ratios[metric.name], choice)));
      }
      row.append(made("td", example.reason));
      return row;
    }),
  );
  let total = 0;
  moves.forEach((from, now) =>
    from.forEach((count, then) => (total += wanted(now, then) ? count : 0)),
  );
  const chosenFrom =
    data.examples.length < data.samples
      ? ` (of the day's ${number(data.samples)} samples ${number(data.examples.length)} are shown by name)`
      : "";
  element("shown").textContent =
    `${number(Math.min(rows.length, ROWS_SHOWN))} of ${number(total)}, nearest to the threshold first${chosenFrom}`;
  element("no-rows").hidden = rows.length > 0;
  element("rows").parentElement.hidden = rows.length === 0;
}

function picture(example, ratio, then, choice) {
  const figure = made("figure", undefined, "frame");
  const image = made("img");
  image.src = `data:image/jpeg;base64,${example.picture.jpeg}`;
  image.alt = example.picture.alt;
  image.width = example.picture.width;
  image.height = example.picture.height;
  const caption = made("figcaption");
  caption.append(
    made("span", example.id, "name"),
    ...withSwatch(VERDICTS[then]),
    `, ${shown(ratio, choice)}`,
    made("span", example.picture.path, "path"),
  );
  figure.append(image, caption);
  return figure;
}

function showPictures(choice) {
  const bound = thresholds[choice[moved]];
  const near = data.examples
    .filter((example) => example.picture)
    .map((example) => [example, example.ratios[choice.metric][example.picture.video]])
    .filter(([, ratio]) => ratio !== null)
    .sort(([, one], [, other]) => Math.abs(one - bound) - Math.abs(other - bound));
  for (const [id, belongs] of [
    ["above", (ratio) => ratio > bound],
    ["below", (ratio) => ratio <= bound],
  ]) {
    const figures = near
      .filter(([, ratio]) => belongs(ratio))
      .slice(0, PICTURES_SHOWN)
      .map(([example, ratio]) => picture(example, ratio, exampleVerdict(example, choice), choice));
    element(id).replaceChildren(...(figures.length ? figures : [made("p", "No video with a picture.")]));
  }
  const name = moved === "high" ? "the greatest ratio that is kept" : "the least ratio that is kept";
  element("above-title").textContent = `Just above ${plain(bound)}, ${name}`;
  element("below-title").textContent = `Just below ${plain(bound)}, or on it`;
}

const FONT = getComputedStyle(document.body).fontFamily;
const CHART_OPTIONS = {
  mode: "vega",
  renderer: "svg",
  actions: false,
  ast: true, // interpreted: the page's policy lets nothing be compiled
  config: {
    axis: { labelFont: FONT, labelFontSize: 12, titleFont: FONT, titleFontSize: 13 },
    legend: { labelFont: FONT, labelFontSize: 12, titleFont: FONT, titleFontSize: 13 },
  },
};

async function chart(id, specification) {
  // Vega gives its place a text of its own; the one to be heard is around it.
  const place = made("div");
  place.setAttribute("aria-hidden", "true");
  element(id).append(place);
  return (await vegaEmbed(place, specification, CHART_OPTIONS)).view;
}

// The axis is named after the metric, which can be changed.
function withMetric(specification) {
  const title = { signal: "metric" };
  return {
    ...specification,
    signals: [...specification.signals, { name: "metric", value: data.rule.metric }],
    axes: specification.axes.map((axis) =>
      axis.title === data.rule.metric ? { ...axis, title } : axis,
    ),
  };
}

// As high as a frame is to its width, also when the window changes.
async function keepShape(view) {
  const fit = () => view.height(Math.round((view.width() * 9) / 16)).runAsync();
  view.addSignalListener("width", fit);
  await fit();
}

let histogram; // Vega's view

function showHistogram(choice, metricChanged) {
  histogram.signal("low", thresholds[choice.low]).signal("high", thresholds[choice.high]);
  if (metricChanged) {
    histogram.signal("metric", choice.metric);
    const counts = data.bins[choice.metric];
    histogram.data(
      "bins",
      counts.map((videos, index) => ({
        begin: data.edges[index],
        end: data.edges[index + 1],
        videos,
      })),
    );
  }
  histogram.runAsync();
  const [low, high] = bounds(choice).map(plain);
  element("histogram").setAttribute(
    "aria-label",
    `Histogram of ${choice.metric} of ${number(data.videos[choice.metric])} videos; ` +
      `kept from ${low} to ${high}`,
  );
}

let lowered = null;
// The costly parts follow when the hand rests.
function later(work) {
  clearTimeout(lowered);
  lowered = setTimeout(work, 120);
}

function update({ metricChanged = false } = {}) {
  const highest = placeOf(
    chosen.metric === "ocr_area_ratio" ? Infinity : Math.max(1, data.rule.max_area_ratio),
  );
  for (const id of ["low", "high"]) {
    element(id).max = highest;
    chosen[id] = Math.min(chosen[id], highest);
    element(id).value = chosen[id];
    const text = plain(thresholds[chosen[id]]);
    element(`${id}-value`).textContent = text;
    element(id).setAttribute("aria-valuetext", text);
  }
  element("metric").value = chosen.metric;
  element("metric-meaning").textContent = data.metrics.find(
    ({ name }) => name === chosen.metric,
  ).meaning;
  for (const button of document.getElementsByName("any_or_all")) {
    button.checked = button.value === chosen.anyOrAll;
  }
  const moves = countMoves(chosen);
  showCounts(moves);
  showSettings(chosen);
  showHistogram(chosen, metricChanged);
  later(() => {
    say(moves);
    showRows(chosen, moves);
    showPictures(chosen);
  });
}

// Neither threshold passes the other.
function move(id, place) {
  moved = id;
  chosen[id] =
    id === "high" ? Math.max(place, chosen.low) : Math.min(Math.max(place, 0), chosen.high);
  update();
}

for (const id of ["low", "high"]) {
  element(id).min = 0;
  element(id).addEventListener("input", (event) => move(id, Number(event.target.value)));
}
element("metric").addEventListener("change", (event) => {
  chosen.metric = event.target.value;
  update({ metricChanged: true });
});
for (const button of document.getElementsByName("any_or_all")) {
  button.addEventListener("change", (event) => {
    chosen.anyOrAll = event.target.value;
    update();
  });
}
element("which").addEventListener("change", () => update());
element("reset").addEventListener("click", () => {
  Object.assign(chosen, inUse);
  update({ metricChanged: true });
});
element("settings").addEventListener("submit", (event) => event.preventDefault());

// Where on the window a ratio is in the chart, and the other way round.
function chartBegin() {
  const left = element("histogram").querySelector("svg").getBoundingClientRect().left;
  return left + histogram.padding().left + histogram.origin()[0];
}
const placeInWindow = (ratio) => chartBegin() + histogram.scale("x")(ratio);
function ratioAt(event) {
  const ratio = histogram.scale("x").invert(event.clientX - chartBegin());
  return Math.min(Math.max(ratio, 0), 1);
}
const nearest = (ratio) => {
  const place = placeOf(ratio);
  const below = Math.max(place - 1, 0);
  return ratio - thresholds[below] < thresholds[place] - ratio ? below : place;
};

// The threshold that is nearer to where it began; of two in one place the one on the side that it
// goes to, null while that is not known.
function grabbed(from, to) {
  const [low, high] = bounds(chosen).map(placeInWindow);
  const middle = (low + high) / 2;
  if (high - low >= GRIP) return from < middle ? "low" : "high";
  if (Math.abs(to - middle) < GRIP) return null;
  return to < middle ? "low" : "high";
}

let begun = null; // where the button went down, while it is down
let dragged = null;
element("histogram").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  begun = event.clientX;
  element("histogram").setPointerCapture(event.pointerId);
});
element("histogram").addEventListener("pointermove", (event) => {
  // A click, which is to show what a bar holds, moves nothing.
  if (begun === null || (!dragged && Math.abs(event.clientX - begun) < STILL)) return;
  dragged ??= grabbed(begun, event.clientX);
  if (dragged) move(dragged, nearest(ratioAt(event)));
});
for (const end of ["pointerup", "pointercancel"]) {
  element("histogram").addEventListener(end, () => ([begun, dragged] = [null, null]));
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(element(button.dataset.copies));
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const done = document.execCommand("copy"); // the clipboard's other interface needs a server
    const status = button.nextElementSibling;
    status.textContent = ""; // so that the same words are said again
    setTimeout(() => (status.textContent = done ? "Copied." : "It is selected; copy it."), BLINK);
  });
}

async function begin() {
  await readProfiles();
  histogram = (await chart("histogram", withMetric(data.histogram))).height(HISTOGRAM_HEIGHT);
  update({ metricChanged: true });
  await keepShape(await chart("heat-map", data.heat_map));
  document.body.dataset.ready = "yes";
}
document.querySelector("main").inert = true;
begin()
  .catch((error) => {
    element("changed").textContent = `The thresholds cannot be moved: ${error}`;
    throw error;
  })
  .finally(() => (document.querySelector("main").inert = false));
