// Changing only what is another: elements stay, and with them focus, selection and the reader's place.
import { setTime } from "./times.js";

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setCondition(element, condition) {
  if (element.dataset.condition === condition) return;
  element.dataset.condition = condition;
  element.querySelector(".icon use").setAttribute("href", "#i-" + condition);
}

export function fillEpisode(element, row) {
  setCondition(element, row.condition);
  element.dataset.key = row.key;
  element.classList.toggle("open", row.open);
  const link = element.firstElementChild;
  if (link.getAttribute("href") !== row.url) link.href = row.url;
  setText(link.querySelector(".name"), row.station_id);
  setText(link.querySelector(".word"), `${row.condition} ${row.severity}`);
  setTime(link.querySelector("time"), row.first_ms);
  setText(link.querySelector(".sentence"), row.sentence);
  setText(link.querySelector(".lasted"), row.lasted);
}

/** Make the children of `list` those of `rows`, in their order, keeping elements by key. */
export function patch(list, rows, keyOf, template, fill, mayMove) {
  const held = new Map([...list.children].map((element) => [element.dataset[keyOf.held], element]));
  const wanted = rows.map((row) => {
    const key = row[keyOf.row];
    const element = held.get(key) ?? template.content.firstElementChild.cloneNode(true);
    held.delete(key);
    fill(element, row);
    return element;
  });
  held.forEach((element) => element.remove());
  wanted.forEach((element, place) => {
    if (element.parentNode === list && !mayMove) return;
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
}
