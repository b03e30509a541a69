// The threshold explorer of a published page. Everything it shows is counted from the bins that
// report/charts/recognition.py packs: bin j holds the distances below threshold j and not below j - 1.
// Where this cannot run, the static figure that stands in its place stays.
"use strict";
(() => {
const LAST = 400, FAILED = 1023;
// The page's language: English texts to its own, from the data; English needs none.
let words = {};
const tr = (text, values = {}) => (words[text] || text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
// The 97.5 % point of the normal distribution and the formula are those of verify/intervals.py.
const Z = 1.959963984540054;
const wilson = (k, n) => {
  const centre = (k + Z * Z / 2) / (n + Z * Z);
  const half = Z / (n + Z * Z) * Math.sqrt(k * (n - k) / n + Z * Z / 4);
  return [k === 0 ? 0 : centre - half, k === n ? 1 : centre + half];
};
// Python rounds a tie to the even digit, toFixed to the larger one; ties end in .125 or .625.
const fixed = x => ((x * 8) % 4 === 1 ? x - 0.001 : x).toFixed(2);
const percent = (k, n) => {
  const [low, high] = wilson(k, n);
  return `${fixed(100 * (k / n))}\u00a0% [${fixed(100 * low)}, ${fixed(100 * high)}]`;
};
const count = n => n >= 10000 ? String(n).replace(/\B(?=(\d{3})+$)/g, "\u00a0") : String(n);
const cut = i => (i / 100).toFixed(2);

async function unpack(data) {
  const bytes = Uint8Array.from(atob(data.bins), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const same = raw.subarray(0, data.n), bins = {};
  let before = new Uint16Array(data.n);
  data.targets.forEach((name, t) => {
    const at = data.n * (1 + 2 * t);
    before = before.map((v, i) => v + raw[at + i] + 256 * raw[at + data.n + i]);
    bins[name] = before;
  });
  return {same, bins};
}

// How many genuine and impostor pairs lie below each threshold, and how many there are.
function cumulate(bins, same) {
  const below = [new Array(LAST + 1).fill(0), new Array(LAST + 1).fill(0)], n = [0, 0];
  bins.forEach((bin, i) => {
    if (bin === FAILED) return;
    n[same[i]]++;
    if (bin <= LAST) below[same[i]][bin]++;
  });
  for (const row of below) for (let j = 1; j <= LAST; j++) row[j] += row[j - 1];
  return {let_in: below[0], found: below[1], impostor: n[0], genuine: n[1]};
}

// Acklam's approximation of the normal quantile, for drawing only.
function probit(p) {
  if (p > 0.5) return -probit(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return (((((-7.784894002430293e-3 * q - 0.3223964580411365) * q - 2.400758277161838) * q
      - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783)
      / ((((7.784695709041462e-3 * q + 0.3224671290700398) * q + 2.445134137142996) * q
      + 3.754408661907416) * q + 1);
  }
  const q = p - 0.5, r = q * q;
  return (((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r
    + 138.357751867269) * r - 30.66479806614716) * r + 2.506628277459239) * q
    / (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r
    + 66.80131188771972) * r - 13.28068155288572) * r + 1);
}

const BOX = {left: 44, right: 306, top: 24, bottom: 184};
const scale = (low, high, from, to) => v =>
  from + (Math.min(Math.max(v, low), high) - low) / (high - low) * (to - from);
const f1 = v => v.toFixed(1);

// A chart is drawn once per target; moving the threshold only moves its marks.
function chart(title, name, yName, xName, xs, ys, body, marks) {
  const lines = xs.map(([at, text]) => `<path d="M${f1(at)} ${BOX.bottom}v4" stroke="currentColor"/>
    <text x="${f1(at)}" y="${BOX.bottom + 16}" text-anchor="middle">${text}</text>`).join("")
    + ys.map(([at, text]) => `<path class="lr-x-grid" d="M${BOX.left} ${f1(at)}H${BOX.right}"/>
    <text x="${BOX.left - 9}" y="${f1(at + 3.8)}" text-anchor="end">${text}</text>`).join("");
  return `<figure class="lr-x-chart"><figcaption>${title}</figcaption><svg role="img" aria-label="${name}" viewBox="0 0 316 220">
    ${lines}<path d="M${BOX.left} ${BOX.top}V${BOX.bottom}H${BOX.right}" fill="none" stroke="currentColor"/>
    <text class="lr-x-name" x="4" y="13">${yName}</text>
    <text class="lr-x-name" x="${BOX.right}" y="217" text-anchor="end">${xName}</text>
    ${body}${marks}</svg></figure>`;
}
const path = points => "M" + points.map(p => p.map(f1).join(" ")).join("L");
const share = p => String(+(100 * p).toPrecision(6));

function histogram(c, bins, same) {
  const counts = [new Array(80).fill(0), new Array(80).fill(0)];
  bins.forEach((bin, i) => { if (bin !== FAILED) counts[same[i]][Math.min(79, Math.floor((bin - 1) / 5))]++; });
  const shares = [counts[0].map(v => v / (c.impostor || 1)), counts[1].map(v => v / (c.genuine || 1))];
  const top = 1.08 * Math.max(...shares[0], ...shares[1]);
  const x = scale(0, 80, BOX.left, BOX.right), y = scale(0, top, BOX.bottom, BOX.top);
  const areas = shares.map((row, s) => {
    const steps = row.flatMap((v, j) => [[x(j), y(v)], [x(j + 1), y(v)]]);
    return `<path class="${s ? "lr-x-genuine" : "lr-x-impostor"}" d="${path([[x(0), y(0)], ...steps, [x(80), y(0)]])}"/>`;
  }).join("");
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find(v => top / v < 5) || 1;
  const ticks = Array.from({length: Math.floor(top / step) + 1}, (_, j) => [y(j * step), share(j * step)]);
  return chart(tr("Histogram"), tr("Histogram of the distances, same person and different people"),
    tr("share of the class per 0.05 (%)"), tr("squared distance"),
    [0, 1, 2, 3, 4].map(v => [x(20 * v), v]), ticks, areas,
    `<path data-mark="line" class="lr-x-line" d="M0 ${BOX.top}V${BOX.bottom}"/>`);
}
function roc(c) {
  const floor = 1 / c.impostor, decades = Math.ceil(Math.log10(c.impostor));
  const x = scale(Math.log10(floor), 0, BOX.left, BOX.right), y = scale(0, 1, BOX.bottom, BOX.top);
  c.roc = i => [x(Math.log10(Math.max(c.let_in[i] / c.impostor, floor))), y(c.found[i] / c.genuine)];
  const ticks = Array.from({length: decades}, (_, j) => 10 ** -j).filter(v => v >= floor);
  return chart("ROC", tr("ROC at the slider's thresholds"), tr("true match rate (%)"), tr("false match rate (%, logarithmic)"),
    ticks.map(v => [x(Math.log10(v)), share(v)]), [0, 0.25, 0.5, 0.75, 1].map(v => [y(v), 100 * v]),
    `<path class="lr-x-curve" d="${path(c.found.map((_, i) => c.roc(i)))}"/>`,
    '<circle data-mark="roc" class="lr-x-dot" r="5.5"/>');
}
function det(c) {
  const axis = (n, from, to) => {
    const ends = [probit(0.5 / n), probit(1 - 0.5 / n)], place = scale(...ends, from, to);
    return p => place(probit(Math.min(Math.max(p, 0.5 / n), 1 - 0.5 / n)));
  };
  const x = axis(c.impostor, BOX.left, BOX.right), y = axis(c.genuine, BOX.bottom, BOX.top);
  const ticks = n => [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999].filter(p => p > 0.7 / n && 1 - p > 0.7 / n);
  c.det = i => [x(c.let_in[i] / c.impostor), y(1 - c.found[i] / c.genuine)];
  return chart("DET", tr("DET at the slider's thresholds, probit axes"), tr("false non-match rate (%, probit)"),
    tr("false match rate (%, probit)"), ticks(c.impostor).map(p => [x(p), share(p)]),
    ticks(c.genuine).map(p => [y(p), share(p)]),
    `<path class="lr-x-curve" d="${path(c.found.map((_, i) => c.det(i)))}"/>`,
    '<circle data-mark="det" class="lr-x-dot" r="5.5"/>');
}

function rates(c, i) {
  const missed = c.genuine - c.found[i], let_in = c.let_in[i], n = c.genuine + c.impostor;
  const row = (name, k, of, without, told) => ({name, told,
    value: of ? percent(k, of) : tr("not given: {reason}", {reason: without}), plain: of ? fixed(100 * (k / of)) + "\u00a0%" : tr("not given")});
  return [
    row(tr("Accuracy"), n - missed - let_in, n, tr("no pairs"),
      tr("{k} of {n} pairs wrong", {k: count(missed + let_in), n: count(n)})),
    row(tr("False match rate"), let_in, c.impostor, tr("no impostor pairs"),
      tr("{k} of {n} impostor pairs let in", {k: count(let_in), n: count(c.impostor)})),
    row(tr("False non-match rate"), missed, c.genuine, tr("no genuine pairs"),
      tr("{k} of {n} genuine pairs missed", {k: count(missed), n: count(c.genuine)})),
  ];
}

// The furthest from the threshold come first.
function wrongPairs(bins, same, i) {
  const wrong = [];
  bins.forEach((bin, pair) => { if (bin !== FAILED && (bin <= i) !== !!same[pair]) wrong.push(pair); });
  const far = pair => same[pair] ? bins[pair] - i : i + 1 - bins[pair];
  return wrong.sort((a, b) => far(b) - far(a) || a - b);
}
const told = (pair, bin, same) => `<li data-pair="${pair}">` + tr("Pair {pair}: {verdict}, {distance}", {
  pair, verdict: same ? tr("same person, missed") : tr("different people, let in"),
  distance: bin > LAST ? tr("4.00 or more") : tr("{low} to {high}", {low: cut(bin - 1), high: cut(bin)})}) + "</li>";

const frame = () => `<div class="lr-x-controls">
  <label>${tr("Target")} <select></select></label>
  <label class="lr-x-slide">${tr("Threshold")} <input type="range" min="0" max="${LAST}" step="1"></label><output></output>
  <button type="button"></button></div>
  <p class="lr-x-said" role="status" aria-live="polite"></p>
  <div class="lr-table" role="region" tabindex="0" aria-label="${tr("Rates at the threshold")}"><table>
  <thead><tr><th scope="col">${tr("Rate")}</th><th scope="col">${tr("Value")} <span class="lr-unit">${tr("95 % interval, Wilson")}</span></th>
  <th scope="col">${tr("Counts")}</th></tr></thead><tbody></tbody></table></div>
  <div class="lr-x-charts"></div>
  <p class="lr-x-key"><span><i class="lr-x-swatch lr-x-genuine"></i>${tr("same person")}</span>
  <span><i class="lr-x-swatch lr-x-impostor"></i>${tr("different people")}</span>
  <span><i class="lr-x-swatch lr-x-now"></i>${tr("the chosen threshold; a rate of 0 or 100 % stands on the edge")}</span></p>
  <p class="lr-x-title"></p>
  <div class="lr-x-wrong" role="region" tabindex="0" aria-label="${tr("Pairs that are wrong at the threshold")}"><ol></ol></div>`;

async function start(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const {same, bins} = await unpack(data);
  words = data.words || {};
  const live = document.createElement("div");
  live.className = "lr-x-live";
  live.innerHTML = frame();
  const find = selector => live.querySelector(selector);
  const target = find("select"), slider = find("input"), charts = find(".lr-x-charts"), back = find("button");
  for (const name of data.targets) target.add(new Option(name));
  let counts, quiet;

  const move = () => {
    const i = +slider.value, rows = rates(counts, i), wrong = wrongPairs(bins[target.value], same, i);
    find("output").textContent = cut(i);
    slider.setAttribute("aria-valuetext", cut(i));
    find("tbody").innerHTML = rows.map(r =>
      `<tr><th scope="row">${r.name}</th><td class="lr-x-value">${r.value}</td><td>${r.told}</td></tr>`).join("");
    for (const mark of charts.querySelectorAll("[data-mark]")) {
      const at = mark.dataset.mark === "line" ? [BOX.left + (BOX.right - BOX.left) * i / LAST, 0] : counts[mark.dataset.mark](i);
      mark.setAttribute("transform", `translate(${at.map(f1)})`);
    }
    find(".lr-x-title").textContent = (wrong.length === 1 ? tr("1 wrong pair at {cut}", {cut: cut(i)})
      : tr("{n} wrong pairs at {cut}", {n: count(wrong.length), cut: cut(i)}))
      + (wrong.length ? tr(", furthest from the threshold first; numbered from 0, with the range of the squared distance") : "");
    find("ol").innerHTML = wrong.map(p => told(p, bins[target.value][p], same[p])).join("");
    find(".lr-x-wrong").hidden = !wrong.length;
    // A screen reader is told where the slider came to rest, not every step on the way.
    clearTimeout(quiet);
    quiet = setTimeout(() => {
      find(".lr-x-said").textContent = tr("{target} at {cut}: {rates}.", {target: target.value, cut: cut(i),
        rates: rows.map(r => `${r.name[0].toLowerCase()}${r.name.slice(1)} ${r.plain}`).join(tr(", "))});
    }, 250);
  };
  const choose = () => {
    counts = cumulate(bins[target.value], same);
    charts.innerHTML = histogram(counts, bins[target.value], same)
      + (counts.genuine && counts.impostor ? roc(counts) + det(counts) : "");
    back.textContent = tr("Back to {cut}", {cut: cut(data.start[target.selectedIndex])});
    move();
  };
  target.addEventListener("change", choose);
  slider.addEventListener("input", move);
  back.addEventListener("click", () => { slider.value = data.start[target.selectedIndex]; move(); });
  slider.value = data.start[0];
  choose();
  root.querySelector(".lr-x-static").hidden = true;
  root.append(live);
}

if ("DecompressionStream" in window) document.querySelectorAll(".lr-explorer").forEach(start);
})();
