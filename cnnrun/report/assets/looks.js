"use strict";
// How lines and axes look, how numbers are written, and elements of the page.
const looks = (() => {
  const DASHES = [[], [7, 4], [2, 4], [9, 3, 2, 3], [12, 4], [4, 2], [1, 3]];
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

  return {
    choices, colourOf, css, dashOf, element, isNumber, isolated, isolatedText, logTicks, sample, text, wantsLog, written,
  };
})();
