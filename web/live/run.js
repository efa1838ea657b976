// A run as the server tells it (nodes/host/events.py), read into lanes of cells. No DOM, no drawing.

import { fill, say } from "./words.js";

export const COMPUTED = 0;
export const CORRECTED = 1;
export const HELD = 2;

// The run in a message, or null where a message is not of that kind.
export function readRun(message) {
  const isRun = message && Array.isArray(message.records) && Array.isArray(message.columns);
  const lists = [message?.groups, message?.outlook];
  if (!isRun || !lists.every(Array.isArray) || !message.found || !(message.num_steps >= 0)) return null;
  const records = message.records.map((row) =>
    Object.fromEntries(message.columns.map((name, i) => [name, row[i]])),
  );
  return { ...message, records, lanes: readLanes(records) };
}

// Whether a run's state takes the place of another: a later run, or a later message of the same one.
export function isNewer(state, shown) {
  if (!shown || state.run !== shown.run) return !shown || state.run > shown.run;
  return state.message > shown.message;
}

// One lane a branch, cond first. A step is 1 wide; several evaluations of a branch in one step share that.
function readLanes(records) {
  const lanes = new Map();
  for (const record of records) {
    if (!lanes.has(record.branch)) lanes.set(record.branch, new Map());
    const steps = lanes.get(record.branch);
    if (!steps.has(record.step_index)) steps.set(record.step_index, []);
    steps.get(record.step_index).push(record);
  }
  const isLater = (branch) => branch !== "cond";
  const ordered = [...lanes].sort(([a], [b]) => isLater(a) - isLater(b));
  return ordered.map(([branch, steps]) => ({
    branch,
    cells: [...steps.values()].flatMap((group) =>
      group.map((record, i) => ({
        ...record,
        start: record.step_index + i / group.length,
        end: record.step_index + (i + 1) / group.length,
      })),
    ),
  }));
}

// Rows of the heat map, top to bottom: first the probe, then each group cut into rows of about equal size.
export function makeRows(groups, probeBlocks, most) {
  const total = groups.reduce((sum, [, count]) => sum + count, 0) - probeBlocks;
  const size = Math.max(1, Math.ceil(total / Math.max(most - groups.length, 1)));
  const rows = [];
  let left = probeBlocks;
  for (const [group, count] of groups) {
    const probe = Math.min(left, count);
    left -= probe;
    if (probe) rows.push({ group, blocks: probe, isProbe: true });
    for (let done = probe; done < count; done += size) {
      rows.push({ group, blocks: Math.min(size, count - done), isProbe: false });
    }
  }
  return rows;
}

// The cell of a lane at a place on the axis of steps.
export function cellAt(lane, place) {
  return lane?.cells.find((cell) => cell.start <= place && place < cell.end);
}

// The run in one or two sentences.
export function summarise(run, words) {
  // Of the first lane: cond and uncond of a step are decided together.
  const count = (outcome) => run.lanes[0]?.cells.filter((cell) => cell.outcome === outcome).length ?? 0;
  const step = (run.records.at(-1)?.step_index ?? -1) + 1;
  const place = run.is_finished ? words.done : run.is_over ? words.stopped : words.step;
  return fill(words.summary, {
    place: fill(place, { step, steps: run.num_steps }),
    computed: count(COMPUTED),
    corrected: count(CORRECTED),
    held: count(HELD),
    blocks: percent(run.blocks_saved),
    saved: seconds(run.seconds_saved),
    taken: seconds(run.seconds),
    hitRate: percent(run.hit_rate),
  });
}

// What a cell says when it is pointed at.
export function describeCell(cell, words) {
  const outcome = [words.computed, words.corrected, words.held][cell.outcome];
  const parts = [fill(words.cell, { step: cell.step_index + 1, branch: cell.branch, outcome })];
  const add = (template, value) => value != null && parts.push(fill(template, { value: short(value) }));
  if (cell.outcome === CORRECTED) add(words.weight, cell.weight);
  if (cell.reason) parts.push(words.says?.reasons[cell.reason] ?? cell.reason);
  add(words.driftIs, cell.drift);
  add(words.expectedIs, cell.expected_error);
  add(words.measuredIs, cell.measured_error);
  if (cell.tolerance > 0) {
    parts.push(fill(words.riskIs, { risk: short(cell.risk), tolerance: short(cell.tolerance) }));
  }
  if (cell.seconds > 0) parts.push(fill(words.took, { value: short(cell.seconds * 1000) }));
  return parts.join(" \u00b7 ");
}

// What was found, and what the setting can do to the run.
export function describeSetting(run, words) {
  const cache = run.cache_bytes ? fill(words.cache, { value: size(run.cache_bytes) }) : "";
  return fill(words.setting, { found: say([run.found], words), cache, outlook: say(run.outlook, words) });
}

// The line of text on the node: what was found, then where the run stands.
export function describeRun(run, words) {
  return run.records.length ? summarise(run, words) : describeSetting({ ...run, outlook: [] }, words).trim();
}

function size(bytes) {
  const [number, unit] = bytes >= 2 ** 30 ? [bytes / 2 ** 30, "GB"] : [bytes / 2 ** 20, "MB"];
  return `${number < 10 ? Number(number.toPrecision(2)) : Math.round(number)} ${unit}`;
}

export const percent = (share) => `${Math.round((share ?? 0) * 100)}%`;

export const seconds = (value) => (value >= 100 ? value.toFixed(0) : (value ?? 0).toFixed(1));

const short = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(2))));
