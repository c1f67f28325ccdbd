"use strict";
// One chart of lines by epoch, drawn by uPlot: values by pointer and keys, zoom.
const lineChart = (() => {
  const { colourOf, css, dashOf, element, isNumber, isolated, logTicks, sample, wantsLog, written } =
    looks;
  const MOST_NAMED = 8; // lines with a legend and all their values at the pointer
  const HEIGHT = 270;
  const tip = document.getElementById("tip");

  // spec: {title, x: [epoch], lines: [{name, values, spread?, raw?, slot?}], unit, decimals,
  // is_error}; `raw` is drawn faintly behind `values`, `spread` to either side is a band.
  // zoomAll(range): show the same epochs in all charts of its row; null for every epoch.
  class Chart {
    constructor(figure, spec, zoomAll) {
      this.figure = figure;
      this.zoomAll = zoomAll;
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

  return { Chart };
})();
