// The page of alarms, kept live.
import { handleAlarms, showAlarms } from "./alarm-list.js";
import { announce, keepLive, showState } from "./live.js";
import { setText } from "./patch.js";
import { localise, runClock } from "./times.js";

const list = document.getElementById("alarms");
const known = new Set([...list.children].map((element) => element.dataset.id));

function show(look) {
  showState(look.state);
  document.title = `${look.headline} · stationwatch`;
  setText(document.getElementById("headline"), look.headline);
  showAlarms(list, look.alarms);
  document.getElementById("no-alarms").hidden = look.alarms.length > 0;
  document.getElementById("more").hidden = !look.more;
  setText(document.getElementById("more"), `And ${look.more} more.`);
  const fresh = look.alarms.filter((row) => !known.has(row.id));
  fresh.forEach((row) => known.add(row.id));
  if (fresh.length) announce(fresh.length > 3 ? `${fresh.length} new alarms.` : fresh.map((row) => `New alarm: ${row.station_id}, ${row.condition}.`).join(" "));
}

localise();
runClock();
const again = keepLive(() => list.dataset.source, show);
handleAlarms(list, again);
