"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const figures = new Map(); // number of the chart -> Bokeh's figure
  const decoded = new Map();
  const hidden = new Set();
  let axis = "step";
  Bokeh.set_log_level("error"); // figures are empty until they are filled, which it warns of

  function numbers(i) {
    if (!decoded.has(i)) {
      const raw = atob(page.arrays[i]);
      const bytes = Uint8Array.from(raw, (c) => c.charCodeAt(0));
      decoded.set(i, Array.from(new Float32Array(bytes.buffer)));
    }
    return decoded.get(i);
  }

  function fill(chart) {
    const curves = page.charts[chart].curves[axis];
    for (const renderer of figures.get(chart).renderers) {
      const [arm, kind] = renderer.tags;
      if (kind === "limit") continue;
      if (kind === "alarms") {
        const x = [], colour = [];
        page.marks[axis].forEach((marks, i) => { if (!hidden.has(i)) for (const at of marks) { x.push(at); colour.push(page.colours[i]); } });
        renderer.data_source.data = { x, colour };
        continue;
      }
      const of = hidden.has(arm) ? null : curves[arm];
      const nothing = { x: [], mean: [], low: [], high: [] };
      if (kind === "line" || !of) {
        const none = of ? new Array(numbers(of[0]).length).fill(NaN) : [];
        renderer.data_source.data = of
          ? { x: numbers(of[0]), mean: numbers(of[1]), low: of.length > 2 ? numbers(of[2]) : none, high: of.length > 2 ? numbers(of[3]) : none }
          : nothing;
      }
    }
  }

  function paint(chart) {
    const ink = getComputedStyle(root).getPropertyValue("--quiet").trim();
    const figure = figures.get(chart);
    for (const side of [...figure.below, ...figure.left]) {
      if (side.major_label_text_color !== undefined) side.major_label_text_color = ink;
    }
    if (page.charts[chart].moves) {
      for (const side of figure.below) side.axis_label = page.axes[axis], side.axis_label_text_color = ink, side.axis_label_text_font_size = "11px";
    }
  }

  async function draw(chart) {
    if (figures.has(chart)) return;
    const before = new Set(Bokeh.documents);
    await Bokeh.embed.embed_item(page.charts[chart].item, `plot-${chart}`);
    const made = Bokeh.documents.find((d) => !before.has(d));
    figures.set(chart, made.roots()[0]);
    if (page.charts[chart].moves) fill(chart);
    paint(chart);
  }

  function theme(name) {
    root.dataset.theme = name;
    for (const chart of figures.keys()) paint(chart);
  }

  function search(text) {
    const wanted = text.toLowerCase();
    let found = 0;
    for (const card of document.querySelectorAll(".cards > div")) {
      card.hidden = wanted !== "" && !card.textContent.toLowerCase().includes(wanted);
      found += !card.hidden;
    }
    const count = document.getElementById("found");
    if (count) count.textContent = wanted ? `${found} found` : "";
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  document.getElementById("axis").addEventListener("change", (event) => {
    axis = event.target.value;
    for (const chart of figures.keys()) if (page.charts[chart].moves) { fill(chart); paint(chart); }
  });
  for (const box of document.querySelectorAll("[data-arm]")) {
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(+box.dataset.arm); else hidden.add(+box.dataset.arm);
      for (const chart of figures.keys()) if (page.charts[chart].moves) fill(chart);
    });
  }
  const field = document.getElementById("search");
  if (field) field.addEventListener("input", () => search(field.value));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && field && document.activeElement !== field) { event.preventDefault(); field.focus(); }
  });

  addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });

  (async () => {
    const charts = page.charts.map((_, i) => i);
    for (const chart of charts.slice(0, 3)) await draw(chart);
    root.dataset.interactive = String(Math.round(performance.now()));
    for (const chart of charts.slice(3)) {
      await new Promise((next) => setTimeout(next));
      await draw(chart);
    }
    root.dataset.drawn = String(Math.round(performance.now()));
  })();
})();
