// A station's alarms on its page.
import { handleAlarms, showAlarms } from "./alarm-list.js";
import { fetchData } from "./live.js";

const PACE_MS = 5000;
const list = document.getElementById("alarms");

async function look() {
  if (document.hidden) return;
  try {
    const { alarms } = await fetchData(list.dataset.source);
    showAlarms(list, alarms);
    document.getElementById("no-alarms").hidden = alarms.length > 0;
  } catch { /* The page's own poll says so. */ }
}

handleAlarms(list, look);
setInterval(look, PACE_MS);
