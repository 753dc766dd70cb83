// A station's charts: any range from 5 minutes to 30 days, live at the right edge, and all of it in the address.
import { columnsOf, laneChart, sensorChart } from "./chart.js";
import { announce, fetchData, keepLive, showState } from "./live.js";
import { fillEpisode, patch, setText } from "./patch.js";
import { Span } from "./span.js";
import { clock, localise, runClock, setTime } from "./times.js";

const MINUTE_MS = 60000;
const PIECE_MS = 4 * 86400000;
const POINTS = 1200;
const WHOLE_MS = 20000;
const AGAIN_MS = 20000;

const page = document.getElementById("station");
const frames = [...page.querySelectorAll(".chart[data-sensor]")];
const span = new Span();
const empty = () => ({ times: [], sensors: Object.fromEntries(frames.map((frame) => [frame.dataset.sensor, { value: [], least: [], most: [], lower: [], typical: [], upper: [] }])) });

let held = empty();
let marks = new Map();
let step = 0;
let turn = 0;
let wholeAt = 0;

const shownMarks = () => [...marks.values()];
const charts = frames.map((frame, index) => ({
  frame,
  name: frame.dataset.sensor,
  chart: sensorChart(frame.querySelector(".plot"), {
    name: frame.dataset.sensor, index, onZoom: zoom, onReset: back, onCursor: (at) => showFigure(frame, at),
    marks: () => shownMarks().filter((mark) => mark.sensor === frame.dataset.sensor),
  }),
}));
const lane = laneChart(document.getElementById("lane"), { marks: shownMarks, gaps, onZoom: zoom, onReset: back });

function source(start, end, gridStep) {
  return `${page.dataset.source}?start=${Math.floor(start)}&end=${Math.ceil(end)}&step=${gridStep}`;
}

/** Read the whole range, the newest piece first, drawing what is there. */
async function load() {
  const mine = ++turn;
  const [start, end] = span.edges();
  const long = end - start > PIECE_MS;
  const grid = long ? MINUTE_MS * Math.ceil((end - start) / (POINTS * MINUTE_MS)) : 0;
  const fresh = { held: empty(), marks: new Map(), episodes: [], rules: new Map(), markedFrom: null };
  document.getElementById("charts").setAttribute("aria-busy", "true");
  for (let to = end; to > start; to -= PIECE_MS) {
    const part = await fetchData(source(long ? Math.max(start, to - PIECE_MS) : start, to, grid));
    if (mine !== turn) return;
    take(fresh, part);
    step = part.step_ms;
    // While a live range is read again, what is shown stays until all is there.
    if (!wholeAt || !long) show(fresh, part);
    if (!long) break;
  }
  showEpisodes(fresh);
  wholeAt = Date.now();
  document.getElementById("charts").setAttribute("aria-busy", "false");
  summarise();
}

function take(fresh, part) {
  const before = fresh.held;
  fresh.held = { times: [...part.times, ...before.times], sensors: {} };
  for (const [name, columns] of Object.entries(part.sensors)) {
    fresh.held.sensors[name] = Object.fromEntries(Object.entries(columns).map(([column, values]) => [column, [...values, ...before.sensors[name][column]]]));
  }
  part.marks.forEach((mark) => fresh.marks.set(mark.url, mark));
  fresh.episodes.push(...part.episodes);
  part.rules.forEach((rule) => fresh.rules.set(rule.name, (fresh.rules.get(rule.name) ?? 0) + rule.count));
  fresh.markedFrom = part.marked_from_ms ?? fresh.markedFrom;
}

function show(fresh, part) {
  document.getElementById("charts").classList.remove("waiting");
  held = fresh.held;
  marks = fresh.marks;
  meet(part);
  draw();
}

/** What every answer says of the station at this moment. */
function meet(part) {
  span.setNow(part.now_ms);
  showState(part.state);
  if (!part.tile) return;
  const badge = document.querySelector("#condition .badge");
  if (badge.dataset.condition !== part.tile.condition) {
    badge.dataset.condition = part.tile.condition;
    badge.querySelector("use").setAttribute("href", "#i-" + part.tile.condition);
    setText(badge.querySelector(".word"), part.tile.condition.replace("-", " "));
    setText(document.getElementById("meaning"), part.tile.since_ms ? `${part.tile.line} since ${clock(part.tile.since_ms)}` : part.tile.line);
    announce(`${part.tile.id} is ${part.tile.condition.replace("-", " ")}`);
  }
  const seen = document.getElementById("seen").querySelector("time");
  if (seen) setTime(seen, part.tile.seen_ms);
}

function draw() {
  const [min, max] = span.edges();
  for (const { chart, name, frame } of charts) {
    chart.batch(() => { chart.setData(columnsOf(held, name), false); chart.setScale("x", { min, max }); });
    showFigure(frame, null);
  }
  lane.batch(() => { lane.setData([held.times, held.times.map(() => null)], false); lane.setScale("x", { min, max }); });
  setText(document.getElementById("lane-note"), marks.size || held.times.length ? "" : "Nothing was heard in this range.");
  span.tell();
}

/** Stretches in sight without any reading. */
function gaps() {
  const [start, end] = span.edges();
  const wide = Math.max(4 * step, MINUTE_MS);
  const known = held.times.filter((_, place) => charts.some(({ name }) => held.sensors[name].value[place] != null));
  const edges = [start, ...known, end];
  return edges.slice(1).map((at, place) => [edges[place], at]).filter(([from, to]) => to - from > wide);
}

function showFigure(frame, at) {
  const columns = held.sensors[frame.dataset.sensor];
  let place = at;
  if (place == null) { place = columns.value.length - 1; while (place > 0 && columns.value[place] == null) place--; }
  const say = (value) => (value == null ? "–" : value.toFixed(1));
  setText(frame.querySelector(".figure"), say(columns.value[place]));
  setText(frame.querySelector(".at"), at == null || !held.times[place] ? "" : clock(held.times[place]) + "  ");
  setText(frame.querySelector(".band"), columns.lower[place] == null ? "" : `typical ${say(columns.lower[place])} to ${say(columns.upper[place])}`);
}

function showEpisodes(fresh) {
  const rows = fresh.episodes.sort((one, other) => other.last_ms - one.last_ms).slice(0, 20);
  patch(document.getElementById("episodes"), rows, { held: "key", row: "key" }, document.getElementById("episode"), fillEpisode, true);
  document.getElementById("no-episodes").hidden = rows.length > 0;
  const marked = document.getElementById("marked");
  marked.hidden = !fresh.markedFrom;
  if (fresh.markedFrom) setText(marked, `Very many anomalies: those before ${clock(fresh.markedFrom)} are not marked. Zoom in to see them.`);
  const rules = [...fresh.rules].map(([name, count]) => `${name} ${count}×`).join(", ");
  setText(document.getElementById("rules"), rules || "none in this range");
}

/** In words, for who does not see the charts. */
function summarise() {
  for (const { frame, name } of charts) {
    const { value, lower, upper } = held.sensors[name];
    const known = value.filter((one) => one != null);
    const abnormal = shownMarks().filter((mark) => mark.sensor === name).length;
    const said = known.length
      ? `From ${Math.min(...known).toFixed(1)} to ${Math.max(...known).toFixed(1)}, latest ${known.at(-1).toFixed(1)}, typical ${lower.at(-1)?.toFixed(1) ?? "unknown"} to ${upper.at(-1)?.toFixed(1) ?? "unknown"}; abnormal at ${abnormal} places.`
      : "No readings in this range.";
    setText(frame.querySelector(".summary"), said);
  }
}

/** What came since: the last seconds again, because readings may be late. */
function next() {
  const last = held.times.at(-1) ?? span.edges()[0];
  const back = Math.max(AGAIN_MS, 5 * step);
  const from = Math.max(span.edges()[0], step ? Math.floor((last - back) / step) * step : last - back);
  return source(from, span.edges()[1], step);
}

function append(part) {
  meet(part);
  if (!span.live || part.step_ms !== step) return;
  const [start] = span.edges();
  const low = held.times.findIndex((at) => at >= start - 2 * step);
  const cut = held.times.findIndex((at) => at >= part.start_ms);
  const keep = (column) => column.slice(Math.max(0, low), cut < 0 ? undefined : cut);
  held = {
    times: [...keep(held.times), ...part.times],
    sensors: Object.fromEntries(Object.entries(held.sensors).map(([name, columns]) => [name, Object.fromEntries(Object.entries(columns).map(([column, values]) => [column, [...keep(values), ...part.sensors[name][column]]]))])),
  };
  part.marks.forEach((mark) => marks.set(mark.url, mark));
  draw();
  if (Date.now() - wholeAt > Math.max(WHOLE_MS, 2 * step)) attempt();
}

async function attempt() {
  const trouble = document.getElementById("chart-trouble");
  try {
    await load();
    trouble.hidden = true;
  } catch {
    trouble.hidden = false;
    setText(trouble, "The readings of this range could not be loaded. Trying again.");
    setTimeout(attempt, 3000);
  }
}

function zoom(start, end) { span.fix(start, end); renew(); }
function back() { span.back(); renew(); }
function renew() {
  wholeAt = 0;
  document.getElementById("charts").classList.add("waiting");
  attempt();
}

localise();
runClock();
span.bind(renew);
attempt();
keepLive(next, append, () => (step < MINUTE_MS ? 2000 : 15000));
