// Which time is shown: a range that ends now, or two fixed moments. Lives in the address, with its buttons.
import { clock } from "./times.js";

const UNITS = { m: 60000, h: 3600000, d: 86400000 };
const LEAST_MS = 5 * UNITS.m;
const MOST_MS = 30 * UNITS.d;
const DEFAULT = "1h";

export class Span {
  constructor() {
    this.ahead = Date.parse(document.getElementById("now").dateTime) - Date.now();
    this.before = [];
    this.read();
  }

  get now() { return Date.now() + this.ahead; }
  get live() { return this.range !== null; }
  get length() { return this.live ? milliseconds(this.range) : this.end - this.start; }

  setNow(ms) { this.ahead = ms - Date.now(); }

  edges() { return this.live ? [this.now - this.length, this.now] : [this.start, this.end]; }

  read() {
    const given = new URLSearchParams(location.search);
    const [start, end] = [Date.parse(given.get("start")), Date.parse(given.get("end"))];
    const fixed = end - start >= 1000 && end - start <= MOST_MS;
    this.range = fixed ? null : milliseconds(given.get("range")) ? given.get("range") : DEFAULT;
    [this.start, this.end] = [start, end];
  }

  write() {
    const address = new URL(location.href);
    for (const name of ["range", "start", "end"]) address.searchParams.delete(name);
    if (!this.live) {
      address.searchParams.set("start", new Date(this.start).toISOString());
      address.searchParams.set("end", new Date(this.end).toISOString());
    } else if (this.range !== DEFAULT) address.searchParams.set("range", this.range);
    history.replaceState(null, "", address);
  }

  remember() { this.before.push([this.range, this.start, this.end]); }

  follow(range) { this.remember(); this.range = range; this.write(); }

  /** Show two moments: at least 5 minutes, at most 30 days, nothing that is to come. */
  fix(start, end) {
    this.remember();
    const wide = Math.min(MOST_MS, Math.max(LEAST_MS, end - start));
    const middle = (start + end) / 2;
    this.end = Math.round(Math.min(middle + wide / 2, this.now));
    this.start = Math.round(this.end - wide);
    this.range = null;
    this.write();
  }

  back() {
    const last = this.before.pop();
    if (last) [this.range, this.start, this.end] = last; else this.range = DEFAULT;
    this.write();
  }

  bind(renew) {
    this.renew = renew;
    this.tell();
    const act = (name, how) => document.getElementById(name)?.addEventListener("click", () => { how(...this.edges()); renew(); });
    const ranges = document.getElementById("ranges");
    ranges?.addEventListener("click", (event) => { if (event.target.dataset.range) { this.follow(event.target.dataset.range); renew(); } });
    act("earlier", (start, end) => this.fix(start - (end - start) / 2, end - (end - start) / 2));
    act("later", (start, end) => (end + (end - start) / 2 >= this.now ? this.follow(nearestRange(end - start)) : this.fix(start + (end - start) / 2, end + (end - start) / 2)));
    act("wider", (start, end) => this.fix(start - (end - start) / 2, end + (end - start) / 2));
    act("closer", (start, end) => this.fix(start + (end - start) / 4, end - (end - start) / 4));
    act("live", (start, end) => this.follow(nearestRange(end - start)));
    addEventListener("popstate", () => { this.read(); renew(); });
  }

  /** Mark the button, and say the times in words. */
  tell() {
    for (const button of document.querySelectorAll("#ranges button")) {
      const pressed = String(button.dataset.range === this.range);
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    }
    const live = document.getElementById("live");
    if (live) live.disabled = this.live;
    const shown = document.getElementById("shown");
    const text = this.live ? `Last ${this.range}, live` : `${clock(this.start)} to ${clock(this.end)}`;
    if (shown && shown.textContent !== text) shown.textContent = text;
  }
}

function milliseconds(range) {
  const found = /^([1-9][0-9]{0,3})([mhd])$/.exec(range ?? "");
  const length = found ? Number(found[1]) * UNITS[found[2]] : 0;
  return length >= LEAST_MS && length <= MOST_MS ? length : 0;
}

function nearestRange(length) {
  const ranges = ["5m", "15m", "1h", "6h", "24h", "7d", "30d"];
  return ranges.find((range) => milliseconds(range) >= length * 0.99) ?? "30d";
}
