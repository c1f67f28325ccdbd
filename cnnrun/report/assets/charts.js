"use strict";
// Charts of lines by epoch, drawn by uPlot: values by pointer and keys, zoom, light, dark and print.
const charts = (() => {
  const DASHES = [[], [7, 4], [2, 4], [9, 3, 2, 3], [12, 4], [4, 2], [1, 3]];
  const MOST_NAMED = 8; // lines with a legend and all their values beside the pointer
  const HEIGHT = 270;
  const tip = document.getElementById("tip");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  // A name that is read from right to left keeps to itself.
  const isolated = (name) => `\u2068${name}\u2069`;

  // A slot is a line's look: 49 pairs of colour and dashes, the first seven differing in both.
  const colourOf = (slot) => css(`--c${slot % DASHES.length}`);
  const dashOf = (slot) => DASHES[(slot + Math.floor(slot / DASHES.length)) % DASHES.length];

  // As the metric says, unless that would show none of the digits, or far too many.
  const written = (value, spec) => {
    const size = Math.abs(value);
    const plain = spec.decimals !== null && size < 1e7;
    if (value === 0 || (plain && size >= 10 ** -spec.decimals)) {
      return value.toFixed(spec.decimals ?? 0);
    }
    return String(Number(value.toPrecision(4)));
  };

  // Errors whose values span a decade, as in the plots.
  const wantsLog = (spec) => {
    const values = spec.lines.flatMap((line) => line.values).filter(isNumber);
    if (!spec.is_error || !values.length) return false;
    const low = values.reduce((a, b) => Math.min(a, b));
    return low > 0 && values.reduce((a, b) => Math.max(a, b)) >= 10 * low;
  };

  const logTicks = (low, high) => {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) {
      for (const s of [1, 2, 5]) found.push(Number(`${s}e${p}`));
    }
    const inside = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
    const powers = inside.filter((v) => Math.log10(v) % 1 === 0);
    return inside.length > 7 && powers.length > 1 ? powers : inside;
  };

  // A sample of a line's look, for legends and tables.
  const sample = (slot) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ class: "sample", width: 34, height: 10 })) {
      svg.setAttribute(key, value);
    }
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(svg.namespaceURI, "line");
    const at = { x1: 1, x2: 33, y1: 5, y2: 5, "stroke-width": 2 };
    for (const [key, value] of Object.entries(at)) line.setAttribute(key, value);
    line.setAttribute("stroke-dasharray", dashOf(slot).join(" "));
    line.style.stroke = `var(--c${slot % DASHES.length})`;
    svg.append(line);
    return svg;
  };

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const text = (tag, content, attributes = {}) => {
    const made = element(tag, attributes);
    made.textContent = content;
    return made;
  };
  const isolatedText = (tag, content, attributes = {}) =>
    element(tag, attributes, text("bdi", content));

  // Boxes to tick, one a choice.
  const choices = (offered, changed) =>
    offered.map(({ title, isShown, key }) => {
      const box = element("input", { type: "checkbox" });
      box.checked = isShown;
      box.addEventListener("change", () => changed(key, box.checked));
      return element("label", {}, box, " ", text("bdi", title));
    });

  // spec: {title, x: [epoch], lines: [{name, values, spread?, raw?, slot?}], unit, decimals,
  // is_error}; `raw` is drawn faintly behind `values`, `spread` to either side is a band.
  class Chart {
    constructor(figure, spec) {
      this.figure = figure;
      this.caption = element("figcaption");
      this.plot = element("div", { class: "plot", role: "img", tabindex: "0" });
      this.legend = element("ul", { class: "legend" });
      figure.replaceChildren(this.caption, this.plot, this.legend);
      this.window = null;
      this.set(spec);
      this.plot.addEventListener("keydown", (event) => this.key(event));
      this.plot.addEventListener("blur", () => this.hide());
      this.sizes = new ResizeObserver(() => {
        const width = this.plot.clientWidth;
        if (this.drawn && width && width !== this.drawn.width) {
          this.drawn.setSize({ width, height: HEIGHT });
        }
      });
      this.sizes.observe(this.plot);
    }

    set(spec) {
      this.spec = spec;
      this.caption.textContent = spec.title;
      spec.lines.forEach((line, k) => {
        line.slot ??= k;
      });
      const last = spec.lines.map((line) => {
        const known = line.values.filter(isNumber);
        return `${line.name} ends at ${known.length ? this.told(known.at(-1)) : "no number"}`;
      });
      const ends = last.length > MOST_NAMED ? `${last.length} lines` : last.join("; ");
      const label = `${spec.title} by epoch: ${ends}. Arrow keys read the values, + and - zoom.`;
      this.plot.setAttribute("aria-label", label);
      const named = spec.lines.length > MOST_NAMED ? [] : spec.lines;
      this.legend.replaceChildren(
        ...named.map((line) => {
          const name = element("bdi");
          name.textContent = line.name;
          return element("li", {}, sample(line.slot), name);
        }),
      );
      this.draw();
    }

    told(value) {
      return `${written(value, this.spec)}${this.spec.unit && ` ${this.spec.unit}`}`;
    }

    // Everything that uPlot draws, and what of it is a line with a value to tell.
    parts() {
      const data = [this.spec.x];
      const series = [{}];
      const bands = [];
      const add = (values, options) => {
        data.push(values);
        series.push({ points: { show: false }, ...options });
        return series.length - 1;
      };
      for (const line of this.spec.lines) {
        if (!line.spread?.some(isNumber)) continue;
        const edge = (sign) =>
          line.values.map((v, k) => {
            const spread = line.spread[k] ?? null;
            if (v === null || spread === null) return null;
            // On a logarithmic axis a band that would reach zero ends where the lines do.
            return this.log ? Math.max(v + sign * spread, this.lowest) : v + sign * spread;
          });
        const none = { stroke: "transparent", width: 0 };
        const pair = [add(edge(1), none), add(edge(-1), none)];
        bands.push({ series: pair, fill: () => `${colourOf(line.slot)}2e` });
      }
      for (const line of this.spec.lines) {
        if (line.raw) {
          add(line.raw, { stroke: () => colourOf(line.slot), width: 1, alpha: 0.3 });
        }
      }
      this.first = series.length;
      for (const line of this.spec.lines) {
        const stroke = () => colourOf(line.slot);
        const many = this.spec.lines.length > 50;
        const points = many ? { show: false } : { size: 5, fill: stroke, stroke };
        add(line.values, { stroke, width: many ? 1 : 2, dash: dashOf(line.slot), points });
      }
      return { data, series, bands };
    }

    draw() {
      this.hide();
      this.drawn?.destroy();
      this.drawn = null;
      const numbers = this.spec.lines.flatMap((line) => line.values).filter(isNumber);
      this.figure.classList.toggle("empty", !numbers.length);
      if (!numbers.length) {
        this.plot.textContent = "No numbers to draw.";
        return;
      }
      this.plot.textContent = "";
      this.log = wantsLog(this.spec);
      this.lowest = numbers.reduce((a, b) => Math.min(a, b));
      const { data, series, bands } = this.parts();
      const muted = () => css("--muted");
      const font = `12px ${getComputedStyle(document.body).fontFamily}`;
      const axis = {
        stroke: muted,
        font,
        labelFont: font,
        grid: { stroke: () => css("--line"), width: 1 },
        ticks: { show: false },
      };
      const unit = this.spec.unit === "%" ? " %" : "";
      this.drawn = new uPlot(
        {
          width: this.plot.clientWidth || 400,
          height: HEIGHT,
          series,
          bands,
          legend: { show: false },
          padding: [10, 12, 0, 0],
          cursor: {
            y: false,
            drag: { x: true, y: false, setScale: false, dist: 8 },
            points: { size: 8, show: (u, k) => this.hoverPoint(k) },
            bind: { dblclick: () => () => this.zoomAll(null) },
          },
          scales: {
            x: { time: false, range: (u, low, high) => this.across(low, high) },
            y: { distr: this.log ? 3 : 1, range: (u, low, high) => this.up(low, high) },
          },
          axes: [
            {
              ...axis,
              label: "epoch",
              labelSize: 20,
              size: 30,
              incrs: [1, 2, 5].flatMap((s) => [s, s * 10, s * 100, s * 1e3, s * 1e4]).sort((a, b) => a - b),
              values: (u, marks) => marks.map(String),
            },
            {
              ...axis,
              size: (u, texts) => this.widest(texts),
              space: 34,
              splits: this.log || this.isFlat ? (u, k, low, high) => this.marks(low, high) : null,
              values: (u, marks) => marks.map((v) => `${Number(v.toPrecision(6))}${unit}`),
              filter: (u, marks) => marks,
            },
          ],
          hooks: {
            setCursor: [() => this.show()],
            setSelect: [(u) => this.selected(u)],
          },
        },
        data,
        this.plot,
      );
    }

    widest(texts) {
      const longest = (texts ?? []).reduce((most, text) => Math.max(most, String(text ?? "").length), 3);
      return 16 + 7 * longest;
    }

    hoverPoint(series) {
      const dot = element("div", { class: "u-cursor-pt" });
      if (series < this.first) dot.hidden = true;
      return dot;
    }

    across(low, high) {
      const [from, to] = this.window ?? [low, high];
      return to > from ? [from, to] : [from - 0.5, to + 0.5];
    }

    up(low, high) {
      if (low === null || high === null) return [0, 1];
      if (this.log) return low < high ? [low, high] : [low / 2, high * 2];
      const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1;
      return [low - margin, high + margin];
    }

    // Around a constant, other marks would only seem to tell something.
    get isFlat() {
      const known = this.spec.lines.flatMap((line) => line.values).filter(isNumber);
      const spread = this.spec.lines.some((line) => line.spread?.some((v) => v > 0));
      return !spread && known.every((value) => value === known[0]);
    }

    marks(low, high) {
      return this.log ? logTicks(low, high) : [this.lowest];
    }

    show() {
      const { left, top, idx } = this.drawn.cursor;
      if (left < 0 || idx === null || idx === undefined) {
        this.hide();
        return;
      }
      this.at = idx;
      const told = this.shown(idx, top).map((line) => {
        const value = line.values[idx] ?? null;
        const name = isolated(line.name);
        if (value === null) return `${name}: no number`;
        const spread = line.spread?.[idx] ?? null;
        const around = spread === null ? "" : ` ± ${spread.toPrecision(2)}`;
        const unit = this.spec.unit && ` ${this.spec.unit}`;
        return `${name}: ${written(value, this.spec)}${around}${unit}`;
      });
      tip.textContent = [`epoch ${this.spec.x[idx]}`, ...told].join("\n");
      tip.hidden = false;
      const over = this.drawn.over.getBoundingClientRect();
      const box = tip.getBoundingClientRect();
      const place = (from, at, size, room) => Math.max(4, Math.min(from + at + 14, room - size - 4));
      tip.style.left = `${place(over.left, left, box.width, innerWidth)}px`;
      tip.style.top = `${place(over.top, top, box.height, innerHeight)}px`;
    }

    // The lines to tell of: all, or of many the one next to the pointer.
    shown(idx, top) {
      const lines = this.spec.lines;
      if (lines.length <= MOST_NAMED) return lines;
      const known = lines.filter((line) => isNumber(line.values[idx]));
      const distance = (line) => Math.abs(this.drawn.valToPos(line.values[idx], "y") - top);
      return known.length ? [known.reduce((a, b) => (distance(b) < distance(a) ? b : a))] : [];
    }

    hide() {
      tip.hidden = true;
    }

    selected(u) {
      const { left, width } = u.select;
      if (width > 0) this.zoomAll([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
    }

    zoom(range) {
      this.window = range;
      if (!this.drawn) return;
      this.drawn.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      const [min, max] = this.across(this.spec.x[0], this.spec.x.at(-1));
      this.drawn.setScale("x", { min, max });
    }

    // Charts side by side show the same epochs.
    zoomAll(range) {
      const group = groups.get(this.figure.parentElement);
      if (group) group.zoom(range);
      else this.zoom(range);
    }

    key(event) {
      if (!this.drawn) return;
      const x = this.spec.x;
      const at = this.at ?? x.length - 1;
      const end = x.length - 1;
      const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: end };
      if (event.key === "Escape") this.hide();
      if (event.key === "0") this.zoomAll(null);
      if (event.key === "+" || event.key === "-") {
        const { min, max } = this.drawn.scales.x;
        const half = ((max - min) / 2) * (event.key === "+" ? 0.5 : 2);
        const range = [Math.max(x[0], x[at] - half), Math.min(x[end], x[at] + half)];
        this.zoomAll(range[0] <= x[0] && range[1] >= x[end] ? null : range);
      }
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = Math.max(0, Math.min(end, steps[event.key]));
      this.drawn.setCursor({ left: this.drawn.valToPos(x[next], "x"), top: 20 });
    }

    redraw() {
      this.drawn?.redraw();
    }

    remove() {
      this.sizes.disconnect();
      this.drawn?.destroy();
      this.figure.remove();
    }
  }

  // Charts of one parent, and two fields that say which epochs all of them show.
  const groups = new Map();
  class Group {
    constructor(parent) {
      this.parent = parent;
      this.charts = [];
      this.from = element("input", { type: "number", min: "1", "aria-label": "first epoch shown" });
      this.to = element("input", { type: "number", min: "1", "aria-label": "last epoch shown" });
      this.all = element("button", { type: "button", class: "small" }, "Show all");
      this.bar = element("p", { class: "zoom" }, "Epochs ", this.from, " to ", this.to, " ", this.all);
      parent.before(this.bar);
      for (const field of [this.from, this.to]) {
        field.addEventListener("change", () => this.typed());
      }
      this.all.addEventListener("click", () => this.zoom(null));
      groups.set(parent, this);
    }

    add(spec, figure = element("figure", { class: "chart" })) {
      if (!figure.isConnected) this.parent.append(figure);
      const chart = new Chart(figure, spec);
      this.charts.push(chart);
      this.tell();
      return chart;
    }

    drop(chart) {
      this.charts = this.charts.filter((one) => one !== chart);
      chart.remove();
    }

    get ends() {
      const x = this.charts.flatMap((chart) => [chart.spec.x[0], chart.spec.x.at(-1)]).filter(isNumber);
      return x.length ? [Math.min(...x), Math.max(...x)] : [1, 1];
    }

    typed() {
      const [low, high] = this.ends;
      const [from, to] = [this.from, this.to].map((field) => Number(field.value));
      const isWhole = !(from < to) || (from <= low && to >= high);
      this.zoom(isWhole ? null : [Math.max(low, from), Math.min(high, to)]);
    }

    zoom(range) {
      this.window = range;
      for (const chart of this.charts) chart.zoom(range);
      this.tell();
    }

    tell() {
      const [low, high] = this.ends;
      this.bar.hidden = high - low < 2;
      const [from, to] = this.window ?? [low, high];
      if (document.activeElement !== this.from) this.from.value = Math.round(from);
      if (document.activeElement !== this.to) this.to.value = Math.round(to);
      this.all.hidden = !this.window;
    }
  }

  const redraw = () => {
    for (const group of groups.values()) for (const chart of group.charts) chart.redraw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // On paper the colours are those of light, whatever the screen has.
  for (const [name, paper] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(name, () => {
      document.documentElement.classList.toggle("paper", paper);
      redraw();
    });
  }

  for (const parent of document.querySelectorAll(".charts")) {
    const group = new Group(parent);
    for (const figure of parent.querySelectorAll("figure[data-chart]")) {
      group.add(JSON.parse(figure.dataset.chart), figure);
    }
  }
  return { Group, choices, element, isolatedText, sample, text, wantsLog, written };
})();
