// A sensor over time: what was measured, how far it spread, what is typical, what was abnormal. Drawn by uPlot.

const LEFT = 58;
const SHAPES = { critical: 7, major: 6.5, minor: 6, warning: 5.5 };
const NEAR = 12;
const APART = 56;
const FOOT = 5;
const HOUR_MS = 3600000;

/** A colour of the stylesheet, in the scheme of the moment. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

const schemes = matchMedia("(prefers-color-scheme: dark)");
const charts = new Set();
schemes.addEventListener("change", () => charts.forEach((chart) => chart.redraw(false)));

const SECONDS = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const MINUTES = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const DAYS = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Times beside each other, as long as the stretch between them needs. */
function timeLabels(u, splits) {
  const span = u.scales.x.max - u.scales.x.min;
  if (span > 60 * HOUR_MS) return splits.map((at) => DAYS.format(at));
  const format = span < HOUR_MS / 5 ? SECONDS : MINUTES;
  return splits.map((at) => format.format(at));
}

function axes(unit) {
  const common = { stroke: () => colour("quiet"), grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return [{ ...common, values: timeLabels, space: 80, size: 24 }, { ...common, size: LEFT, values: (u, splits) => splits.map((at) => `${+at.toPrecision(6)}${unit}`) }];
}

function base(host, height, sync, onZoom, onReset) {
  return {
    width: Math.max(200, host.clientWidth), height, ms: 1, legend: { show: false }, padding: [10, 12, 0, 0],
    cursor: { sync: { key: sync, setSeries: false }, drag: { x: true, y: false, setScale: false, dist: 5 }, points: { size: 7 }, bind: { dblclick: () => () => onReset?.() } },
    select: { show: Boolean(onZoom) },
    hooks: {
      setSelect: [(u) => {
        if (u.select.width < 5) return;
        const [start, end] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        onZoom?.(start, end);
      }],
    },
  };
}

function mount(host, options, data) {
  host.replaceChildren();
  const chart = new uPlot(options, data, host);
  charts.add(chart);
  new ResizeObserver(() => chart.setSize({ width: Math.max(200, host.clientWidth), height: options.height })).observe(host);
  return chart;
}

/**
 * The chart of one sensor.
 * `marks()` are the anomalies of the plant's `condition`s, each `{at_ms, value, condition, url}`; `focus` a moment to point at.
 */
export function sensorChart(host, { name, index, height = 190, sync = "station", marks = () => [], focus = null, onZoom, onReset, onCursor }) {
  const line = () => colour("series-" + (index % 4));
  const faint = (part) => () => `color-mix(in srgb, ${line()} ${part}%, transparent)`;
  const hidden = { width: 0, points: { show: false } };
  const options = base(host, height, sync, onZoom, onReset);
  const chart = mount(host, {
    ...options,
    scales: { x: { time: true }, y: { range: (u, low, high) => room(low, high) } },
    axes: axes(""),
    series: [
      {},
      { label: "upper", ...hidden }, { label: "lower", ...hidden },
      { label: "most", ...hidden }, { label: "least", ...hidden },
      { label: "typical", stroke: () => colour("quiet"), width: 1, dash: [4, 4], points: { show: false } },
      { label: name, stroke: line, width: 1.6, points: { show: false } },
    ],
    bands: [{ series: [1, 2], fill: () => colour("band") }, { series: [3, 4], fill: faint(28) }],
    hooks: {
      ...options.hooks,
      draw: [(u) => { if (focus) pointAt(u, focus); drawMarks(u, marks()); }],
      setCursor: [(u) => onCursor?.(u.cursor.idx)],
    },
  }, [[], [], [], [], [], [], []]);
  chart.over.addEventListener("click", (event) => {
    const mark = nearest(chart, marks(), event);
    if (mark) location.assign(mark.url);
  });
  chart.over.addEventListener("mousemove", (event) => { chart.over.classList.toggle("pointing", Boolean(nearest(chart, marks(), event))); });
  return chart;
}

function room(low, high) {
  if (low == null) return [0, 1];
  const air = Math.max((high - low) * 0.08, Math.abs(high) * 0.002, 1e-6);
  return [low - air, high + air];
}

/** The columns of a sensor as the chart takes them. */
export function columnsOf(series, name) {
  const held = series.sensors[name];
  return [series.times, held.upper, held.lower, held.most, held.least, held.typical, held.value];
}

/** How severe the anomalies were, and where nothing was heard. */
export function laneChart(host, { sync = "station", marks, gaps, onZoom, onReset }) {
  const options = base(host, 96, sync, onZoom, onReset);
  return mount(host, {
    ...options,
    scales: { x: { time: true }, y: { range: [0, 100] } },
    axes: (([x, y]) => [x, { ...y, splits: () => [0, 50, 100] }])(axes("")),
    series: [{}, { width: 0, points: { show: false } }],
    hooks: {
      ...options.hooks,
      draw: [(u) => {
        for (const [start, end] of gaps()) hatch(u, start, end);
        for (const mark of marks()) bar(u, mark, u.valToPos(Math.max(6, mark.severity), "y", true));
      }],
    },
  }, [[], []]);
}

/** From `top` to the foot, as long as the mark stands for. */
function bar(u, mark, top) {
  const left = Math.max(u.bbox.left, Math.floor(u.valToPos(mark.from_ms, "x", true)));
  const right = Math.min(u.bbox.left + u.bbox.width, Math.ceil(u.valToPos(mark.to_ms, "x", true)));
  u.ctx.fillStyle = markColour(mark.condition);
  if (right > left) u.ctx.fillRect(left, top, Math.max(2, right - left), u.bbox.top + u.bbox.height - top);
}

function hatch(u, start, end) {
  const left = Math.max(u.bbox.left, u.valToPos(start, "x", true));
  const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(end, "x", true));
  if (right - left < 1) return;
  const { ctx } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, u.bbox.top, right - left, u.bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour("quiet");
  ctx.globalAlpha = 0.45;
  ctx.beginPath();
  for (let x = left - u.bbox.height; x < right; x += 9) { ctx.moveTo(x, u.bbox.top + u.bbox.height); ctx.lineTo(x + u.bbox.height, u.bbox.top); }
  ctx.stroke();
  ctx.restore();
}

function markColour(condition) {
  return colour(condition === "warning" ? "warning-edge" : condition);
}

function pointAt(u, ms) {
  const x = u.valToPos(ms, "x", true);
  u.ctx.fillStyle = colour("focus");
  u.ctx.globalAlpha = 0.35;
  u.ctx.fillRect(x - 1, u.bbox.top, 2, u.bbox.height);
  u.ctx.globalAlpha = 1;
}

/** Along the foot every moment that was abnormal; above it the worst of each short stretch, as its condition's shape. */
function drawMarks(u, marks) {
  const scale = devicePixelRatio || 1;
  const right = u.bbox.left + u.bbox.width;
  const worst = new Map();
  for (const mark of marks) {
    const x = u.valToPos(mark.at_ms, "x", true);
    if (mark.value == null || x < u.bbox.left || x > right) continue;
    bar(u, mark, u.bbox.top + u.bbox.height - FOOT * scale);
    const place = Math.floor(x / (APART * scale));
    if (!worst.has(place) || worst.get(place).severity < mark.severity) worst.set(place, mark);
  }
  for (const mark of worst.values()) {
    const path = shape(mark.condition, u.valToPos(mark.at_ms, "x", true), u.valToPos(mark.value, "y", true), SHAPES[mark.condition] * scale);
    u.ctx.fillStyle = markColour(mark.condition);
    u.ctx.strokeStyle = colour("sheet");
    u.ctx.lineWidth = 1.5 * scale;
    u.ctx.fill(path);
    u.ctx.stroke(path);
  }
}

function shape(condition, x, y, size) {
  const path = new Path2D();
  const corners = {
    critical: [[-0.45, -1], [0.45, -1], [1, -0.45], [1, 0.45], [0.45, 1], [-0.45, 1], [-1, 0.45], [-1, -0.45]],
    major: [[0, -1], [1, 0.8], [-1, 0.8]], minor: [[0, -1], [1, 0], [0, 1], [-1, 0]], warning: [[-1, -0.8], [1, -0.8], [0, 1]],
  }[condition];
  corners.forEach(([right, down], place) => path[place ? "lineTo" : "moveTo"](x + right * size, y + down * size));
  path.closePath();
  return path;
}

function nearest(u, marks, event) {
  const box = u.over.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let found = null;
  let least = NEAR;
  for (const mark of marks) {
    if (mark.value == null) continue;
    const distance = Math.hypot(u.valToPos(mark.at_ms, "x") - x, u.valToPos(mark.value, "y") - y);
    if (distance < least) [found, least] = [mark, distance];
  }
  return found;
}
