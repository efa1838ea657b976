// The live view of one node: numbers, heat map, curves and key, in a shadow tree of its own.

import { KEY, STYLE } from "./look.js";
import { drawRun, layOut } from "./picture.js";
import { cellAt, describeCell, describeSetting, isNewer, percent, seconds, summarise } from "./run.js";
import { fill } from "./words.js";

const IDLE_HEIGHT = 26; // pixels
const FULL_HEIGHT = 286;
const SHARPEST = 3; // device pixels a pixel of the layout; zoomed in and on dense screens

function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export class LivePanel {
  // words: see words.js. onGrow: called when the panel needs more room than before.
  constructor(words, onGrow) {
    this.words = words;
    this.onGrow = onGrow;
    this.run = null;
    this.cursor = null; // step that is pointed at
    this.lane = 0;
    this.frame = 0;
    this.listening = new AbortController();
    this.build();
    this.listen();
  }

  get minHeight() {
    return this.run ? FULL_HEIGHT : IDLE_HEIGHT;
  }

  build() {
    const { words } = this;
    this.element = make("div", { className: "adacorrection-live" });
    this.values = {};
    const number = (name) => {
      this.values[name] = make("dd");
      return make("div", {}, [make("dt", { textContent: words[name] }), this.values[name]]);
    };
    const names = ["blocksSaved", "secondsSaved", "secondsTaken", "hitRate"];
    const numbers = make("dl", { className: "numbers" }, names.map(number));
    this.canvas = make("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.swatches = {};
    const entry = ([name, shape, colour]) => {
      this.swatches[name] = make("i", { className: shape });
      this.swatches[name].style.setProperty("--swatch", `var(${colour})`);
      return make("li", {}, [this.swatches[name], words[name]]);
    };
    this.key = make("ul", { className: "key" }, KEY.map(entry));
    this.note = make("p", { className: "note", textContent: words.idle });
    this.spoken = make("div", { className: "spoken" });
    this.spoken.setAttribute("role", "status");
    this.panel = make("section", { className: "panel" }, [
      numbers, this.canvas, this.key, this.note, this.spoken,
    ]);
    this.panel.dataset.idle = "";
    this.element.style.minHeight = `${this.minHeight}px`;
    const style = make("style", { textContent: STYLE });
    this.element.attachShadow({ mode: "open" }).append(style, this.panel);
  }

  listen() {
    const { signal } = this.listening;
    const on = (element, type, listener) => element.addEventListener(type, listener, { signal });
    on(this.canvas, "pointerenter", () => this.schedule()); // sharp again after zooming in
    on(this.canvas, "pointermove", (event) => this.point(event));
    on(this.canvas, "pointerleave", () => this.moveTo(null));
    on(this.canvas, "blur", () => this.moveTo(null));
    on(this.canvas, "keydown", (event) => this.press(event));
    on(this.key, "transitionend", () => this.schedule()); // the theme has changed
    this.sizes = new ResizeObserver(() => this.schedule());
    this.sizes.observe(this.canvas);
  }

  // Show a run's state, unless what is shown is as new.
  update(run) {
    if (this.listening.signal.aborted || !isNewer(run, this.run)) return;
    const isFirst = !this.run;
    const { branch: shown } = this.run?.lanes[this.lane] ?? {};
    this.run = run;
    this.lane = Math.max(run.lanes.findIndex(({ branch }) => branch === shown), 0);
    const groups = run.groups.map(([name, count]) => `${count} ${name}`).join(this.words.over);
    for (const lane of run.lanes) lane.label = fill(this.words.lane, { branch: lane.branch, groups });
    if (isFirst) this.grow();
    if (run.message === 1 || run.is_over) this.spoken.textContent = summarise(run, this.words);
    this.schedule();
  }

  grow() {
    delete this.panel.dataset.idle;
    this.element.style.minHeight = `${this.minHeight}px`;
    this.onGrow();
  }

  // Draw in the next frame, however often this is called before it.
  schedule() {
    if (this.run && !this.listening.signal.aborted) this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const { run, canvas, values } = this;
    values.blocksSaved.textContent = percent(run.blocks_saved);
    values.secondsSaved.textContent = `${seconds(run.seconds_saved)} s`;
    values.secondsTaken.textContent = `${seconds(run.seconds)} s`;
    values.hitRate.textContent = percent(run.hit_rate);
    canvas.setAttribute("aria-label", `${summarise(run, this.words)} ${this.words.picture}`);
    this.writeNote();
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return; // not on the page just now
    const zoom = canvas.getBoundingClientRect().width / width;
    const ratio = Math.min(devicePixelRatio * Math.max(zoom, 1), SHARPEST);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(canvas.width / width, canvas.height / height);
    this.layout = layOut(width, height, run.lanes.length);
    drawRun(context, this.layout, run, this.colours(), this.cursor);
  }

  colours() {
    const colour = (name) => getComputedStyle(this.swatches[name]).color;
    const panel = getComputedStyle(this.panel);
    const text = getComputedStyle(this.note).color;
    return {
      computed: colour("computed"),
      corrected: colour("corrected"),
      risk: colour("risk"),
      tolerance: colour("tolerance"),
      drift: colour("drift"),
      text,
      grid: text,
      empty: `color-mix(in srgb, ${text} 14%, transparent)`,
      font: panel.fontFamily,
    };
  }

  writeNote() {
    const cell = this.cursor == null ? null : cellAt(this.run.lanes[this.lane], this.cursor);
    const text = cell ? describeCell(cell, this.words) : describeSetting(this.run, this.words);
    if (this.note.textContent !== text) this.note.textContent = text;
    this.note.title = text;
  }

  // Where the pointer is, in steps and lanes.
  point(event) {
    if (!this.run || !this.layout) return;
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const y = ((event.clientY - top) / height) * this.layout.height;
    const lane = this.layout.tops.findLastIndex((start) => y >= start);
    this.lane = y < this.layout.curves.top ? Math.max(lane, 0) : 0;
    this.moveTo(Math.floor(((event.clientX - left) / width) * this.run.num_steps));
  }

  press(event) {
    if (!this.run) return;
    const last = this.run.records.at(-1)?.step_index ?? 0;
    const places = {
      ArrowLeft: () => (this.cursor ?? last + 1) - 1,
      ArrowRight: () => (this.cursor ?? -1) + 1,
      Home: () => 0,
      End: () => last,
      Escape: () => null,
    };
    const lanes = { ArrowUp: -1, ArrowDown: 1 };
    if (event.key in lanes) {
      this.lane = Math.min(Math.max(this.lane + lanes[event.key], 0), this.run.lanes.length - 1);
    } else if (!(event.key in places)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // not also the graph's
    const place = places[event.key]?.() ?? (event.key === "Escape" ? null : this.cursor);
    this.moveTo(place == null ? null : Math.min(Math.max(place, 0), last));
    const cell = this.cursor == null ? null : cellAt(this.run.lanes[this.lane], this.cursor);
    this.spoken.textContent = cell ? describeCell(cell, this.words) : "";
  }

  moveTo(step) {
    this.cursor = step;
    this.schedule();
  }

  // Let go of everything; called when the node goes.
  dispose() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.listening.abort();
    this.sizes.disconnect();
    this.run = this.layout = null;
  }
}
