// Times in the reader's own zone. The server writes UTC, which stays where scripts do not run.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const MINUTES = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });

/** `14:02:10`, with the day before it when that is not today. */
export function clock(ms, format = CLOCK) {
  const time = new Date(ms);
  const today = time.toDateString() === new Date().toDateString();
  return today ? format.format(time) : `${DAY.format(time)} ${format.format(time)}`;
}

/** Set a <time> to a moment, touching the page only when it changes. */
export function setTime(element, ms) {
  const stamp = new Date(ms).toISOString();
  if (element.dateTime === stamp) return;
  element.dateTime = stamp;
  tell(element);
}

function tell(element) {
  const ms = Date.parse(element.dateTime);
  if (Number.isNaN(ms)) return;
  element.textContent = clock(ms, "minutes" in element.dataset ? MINUTES : CLOCK);
  element.title = element.dateTime;
}

/** Show the times under `root` in the reader's zone. */
export function localise(root = document) {
  root.querySelectorAll("time[data-clock], time[data-minutes]").forEach(tell);
}

/** The clock in the page's head: the server's time, since episodes are told in it. */
export function runClock() {
  const shown = document.getElementById("now");
  const ahead = Date.parse(shown.dateTime) - Date.now();
  const zone = document.querySelector("[data-zone]");
  if (zone) zone.textContent = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts().find((part) => part.type === "timeZoneName").value;
  setInterval(() => { shown.textContent = CLOCK.format(new Date(Date.now() + ahead)); }, 1000);
}
