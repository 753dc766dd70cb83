// What keeps a page live: one poll every few seconds, none while nobody looks. Not server-sent events: a browser holds
// six connections to a server, and a shift leader more tabs than that.

const RETRY_MS = 3000;
const ANSWER_MS = 10000;
const TROUBLES = { store: "The store does not answer", busy: "The API is busy" };

/** Fetch the page's own data. A session that ended leads to the login page and back. */
export async function fetchData(address, kind = "json") {
  const answer = await fetch(address, { signal: AbortSignal.timeout(ANSWER_MS), headers: { "X-Requested-With": "page" } });
  if (answer.status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
  if (answer.status === 503) throw new Error((await answer.json()).type.endsWith("store-unavailable") ? "store" : "busy");
  if (!answer.ok) throw new Error("status " + answer.status);
  return kind === "json" ? answer.json() : answer.text();
}

/**
 * Call `show` with what `address()` answers, now and then every `pace()` ms while the page is in sight.
 * Trouble is said in the banner and ends by itself.
 */
export function keepLive(address, show, pace = () => 2000) {
  let failingSince = null;
  let timer = 0;
  let running = false;

  async function turn() {
    if (running || document.hidden) return;
    running = true;
    clearTimeout(timer);
    try {
      show(await fetchData(address()));
      failingSince = null;
      sayConnection("");
      timer = setTimeout(turn, pace());
    } catch (error) {
      failingSince ??= new Date();
      const since = failingSince.toLocaleTimeString();
      const what = TROUBLES[error.message] ?? "No connection to the API";
      sayConnection(`${what} since ${since}. What follows is old; this page tries again by itself.`);
      timer = setTimeout(turn, RETRY_MS);
    } finally {
      running = false;
    }
  }

  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, pace());
  return turn;
}

function sayConnection(text) {
  const banner = document.getElementById("connection");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
  document.body.classList.toggle("offline", Boolean(text));
  if (text) sayWatching(false, "No connection");
}

/** Say whether the stream is watching: in the pill, in the banner, in the page's colours. */
export function showState(state) {
  const blind = state.kind === "blind";
  const banner = document.getElementById("state");
  const text = blind ? state.text : "";
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !blind;
  document.body.classList.toggle("blind", blind);
  sayWatching(!blind, blind ? "Not watching" : "Watching");
}

function sayWatching(watching, text) {
  const pill = document.getElementById("pill");
  pill.classList.toggle("watching", watching);
  pill.classList.toggle("blind", !watching);
  document.getElementById("pill-text").textContent = text;
}

/** Tell a screen reader, without moving its place. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
