"use strict";
// Groups of charts, and those that the page has when it is opened; light, dark and print.
const charts = (() => {
  const { element, isNumber } = looks;
  const { Chart } = lineChart;

  // Charts of one parent side by side show the same epochs: two fields say which.
  const groups = [];
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
      groups.push(this);
    }

    add(spec, figure = element("figure", { class: "chart" })) {
      if (!figure.isConnected) this.parent.append(figure);
      const chart = new Chart(figure, spec, (range) => this.zoom(range));
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
    for (const group of groups) for (const chart of group.charts) chart.redraw();
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
  return { Group };
})();
