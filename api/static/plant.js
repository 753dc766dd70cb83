// Keeps tiles and episodes live, changing only what is another; filters and search live in the address.
import { fillEpisode, patch, setCondition, setText } from "./patch.js";
import { announce, fetchData, keepLive, showState } from "./live.js";
import { localise, runClock, setTime } from "./times.js";

const plant = document.getElementById("plant");
const MANY = 300;
const STRIP_MS = 30000;
const LOUD = new Set(["critical", "major", "silent"]);

function words(condition) {
  return condition.replace("-", " ");
}

function fillTile(element, tile) {
  setCondition(element, tile.condition);
  element.dataset.id = tile.id;
  const link = element.firstElementChild;
  if (link.getAttribute("href") !== tile.url) link.href = tile.url;
  const parts = element.parts ??= {
    name: link.querySelector(".name"), word: link.querySelector(".word"), line: link.querySelector(".line"),
    since: link.querySelector(".since"), lately: link.querySelector(".lately"), values: [...link.querySelectorAll(".value")],
  };
  setText(parts.name, tile.id);
  setText(parts.word, words(tile.condition));
  setText(parts.line, tile.line);
  setText(parts.lately, tile.lately_text);
  fillSince(parts.since, tile.since_ms);
  parts.values.forEach((value, number) => {
    setText(value, tile.values[number]);
    value.classList.toggle("hot", value.dataset.sensor === tile.hot);
  });
}

function fillSince(element, ms) {
  if (!ms) return setText(element, "");
  if (!element.firstElementChild) {
    const time = document.createElement("time");
    time.dataset.minutes = "";
    element.replaceChildren("since ", time);
  }
  setTime(element.firstElementChild, ms);
}

const tiles = document.getElementById("tiles");
const conditions = new Map();

function show(look) {
  showState(look.state);
  document.title = look.title;
  // Nothing moves away from under a pointer or a keyboard's focus.
  patch(tiles, look.tiles, { held: "id", row: "id" }, document.getElementById("tile"), fillTile, !tiles.matches(":hover, :focus-within"));
  patch(document.getElementById("episodes"), look.episodes, { held: "key", row: "key" }, document.getElementById("episode"), fillEpisode, true);
  tiles.classList.toggle("dense", look.tiles.length > 200);
  setText(document.getElementById("station-count"), String(look.tiles.length));
  setText(document.getElementById("open-count"), look.open);
  setText(document.getElementById("alarms-said"), look.alarms_said);
  document.getElementById("no-episodes").hidden = look.episodes.length > 0;
  setText(document.getElementById("no-episodes"), look.quiet);
  document.getElementById("catching-up").hidden = !look.catching_up;
  for (const chip of document.querySelectorAll("#chips .chip")) {
    setText(chip.querySelector(".count"), String(look.counts[chip.dataset.condition]));
    chip.parentElement.hidden = !look.counts[chip.dataset.condition] && chip.ariaPressed !== "true";
  }
  filter();
  tellChanges(look.tiles);
}

function tellChanges(seen) {
  const news = seen.filter((tile) => conditions.size && LOUD.has(tile.condition) && conditions.get(tile.id) !== tile.condition);
  seen.forEach((tile) => conditions.set(tile.id, tile.condition));
  if (news.length > 3) announce(`${news.length} stations are in trouble.`);
  else if (news.length) announce(news.map((tile) => `${tile.id}: ${words(tile.condition)} ${tile.line}`).join(". "));
}

const search = document.getElementById("q");
const chips = document.getElementById("chips");

function chosen() {
  return [...chips.querySelectorAll('[aria-pressed="true"]')].map((chip) => chip.dataset.condition);
}

function filter() {
  const text = search?.value.trim().toLowerCase() ?? "";
  const kinds = new Set(chosen());
  let shown = 0;
  for (const tile of tiles.children) {
    const fits = tile.dataset.id.toLowerCase().includes(text) && (!kinds.size || kinds.has(tile.dataset.condition));
    if (tile.hidden === fits) tile.hidden = !fits;
    shown += fits;
  }
  chips.classList.toggle("some", kinds.size > 0);
  document.getElementById("none").hidden = shown > 0;
}

function changeFilter() {
  filter();
  const address = new URL(location.href);
  const kinds = chosen();
  if (search.value) address.searchParams.set("q", search.value); else address.searchParams.delete("q");
  if (kinds.length) address.searchParams.set("condition", kinds.join(",")); else address.searchParams.delete("condition");
  history.replaceState(null, "", address);
}

function toggle(event) {
  const chip = event.target.closest("button.chip");
  if (!chip) return;
  chip.setAttribute("aria-pressed", chip.ariaPressed === "true" ? "false" : "true");
  changeFilter();
}

function clear() {
  search.value = "";
  chips.querySelectorAll("button.chip").forEach((chip) => chip.setAttribute("aria-pressed", "false"));
  changeFilter();
}

/** `/` searches, Escape shows all, arrows walk from tile to tile. */
function keys(event) {
  if (event.key === "/" && search && event.target !== search) { event.preventDefault(); search.focus(); }
  if (event.key === "Escape" && event.target === search) { clear(); }
  const tile = event.target.closest?.(".tile");
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
  if (!tile || !step) return;
  const shown = [...tiles.children].filter((one) => !one.hidden);
  const next = shown[shown.indexOf(tile) + step];
  if (next) { event.preventDefault(); next.firstElementChild.focus(); }
}

function columns() {
  return getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
}

async function refreshStrip() {
  if (!document.hidden) {
    try {
      const part = new DOMParser().parseFromString(await fetchData(plant.dataset.strip, "text"), "text/html");
      document.getElementById("strip").replaceChildren(...part.body.childNodes);
      localise(document.getElementById("strip"));
    } catch { /* The poll beside it says so. */ }
  }
  setTimeout(refreshStrip, STRIP_MS);
}

localise();
runClock();
keepLive(() => plant.dataset.source, show, () => (tiles.children.length > MANY ? 5000 : 2000));
setTimeout(refreshStrip, STRIP_MS);
document.addEventListener("keydown", keys);
if (search) {
  search.addEventListener("input", changeFilter);
  search.form.addEventListener("submit", (event) => event.preventDefault());
  chips.addEventListener("click", toggle);
  document.getElementById("clear")?.addEventListener("click", clear);
  filter();
}
