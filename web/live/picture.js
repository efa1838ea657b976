// The run as a picture on a canvas: a lane of the heat map for each branch, and below them the curves.
// Outcomes differ in texture as well as in colour: solid, tiled, hatched.

import { CORRECTED, COMPUTED, HELD, makeRows } from "./run.js";

const LABEL = 14; // pixels, like all lengths here
const GAP = 5;
const ROW = 5; // about how high a row of the heat map is
const FAINTEST = 0.4; // opacity of a corrected step whose weight is next to nothing
const EDGE = 1; // of each of its rows, in full colour, so that it stands out all the same

// Where everything goes on a canvas of this size.
export function layOut(width, height, numLanes) {
  const lanes = Math.max(numLanes, 1);
  const curves = Math.min(Math.max(height * 0.32, 30), 110);
  const lane = Math.max((height - curves) / lanes - LABEL - GAP, 12);
  const tops = Array.from({ length: lanes }, (_, i) => LABEL + i * (lane + LABEL + GAP));
  const top = lanes * (lane + LABEL + GAP);
  return { width, height, lane, tops, curves: { top, height: height - top - 1 } };
}

export function drawRun(context, layout, run, colours, cursor) {
  const scale = layout.width / Math.max(run.num_steps, 1);
  context.clearRect(0, 0, layout.width, layout.height);
  if (cursor != null) drawCursor(context, layout, cursor * scale, scale, colours);
  run.lanes.forEach((lane, i) => drawLane(context, layout, run, lane, layout.tops[i], scale, colours));
  drawCurves(context, layout.curves, layout.width, run, scale, colours);
}

function drawCursor(context, layout, x, width, colours) {
  context.fillStyle = colours.text;
  context.globalAlpha = 0.16;
  context.fillRect(x - 1, 0, Math.max(width, 2) + 1, layout.height);
  context.globalAlpha = 1;
}

function drawLane(context, layout, run, lane, top, scale, colours) {
  context.fillStyle = colours.text;
  context.font = `10px ${colours.font}`;
  context.textBaseline = "alphabetic";
  context.fillText(lane.label ?? lane.branch, 0, top - 4, layout.width);
  const rows = placeRows(run, top, layout.lane);
  context.fillStyle = colours.empty;
  for (const row of rows) context.fillRect(0, row.top, layout.width, row.height);
  for (const cell of lane.cells) drawCell(context, cell, rows, scale, colours);
}

// Rows with their places; a wider gap parts the groups.
function placeRows(run, top, height) {
  const rows = makeRows(run.groups, run.probe_blocks, Math.max(Math.floor(height / ROW), 3));
  const isNewGroup = (i) => i > 0 && rows[i].group !== rows[i - 1].group;
  const gaps = rows.reduce((sum, _, i) => sum + (i === 0 ? 0 : isNewGroup(i) ? 3 : 1), 0);
  const each = Math.max((height - gaps) / rows.length, 1);
  let y = top;
  return rows.map((row, i) => {
    if (i > 0) y += isNewGroup(i) ? 3 : 1;
    const placed = { ...row, top: y, height: each };
    y += each;
    return placed;
  });
}

function drawCell(context, cell, rows, scale, colours) {
  const width = (cell.end - cell.start) * scale;
  const gap = width > 4 ? 1 : 0;
  const x = cell.start * scale;
  const box = (row) => [x, row.top, width - gap, row.height];
  const bottom = rows.at(-1).top + rows.at(-1).height;
  context.fillStyle = colours.computed;
  if (cell.outcome === COMPUTED) {
    context.fillRect(x, rows[0].top, width - gap, bottom - rows[0].top);
    return;
  }
  // The probe runs where the noise level alone left the decision in doubt, else no block does.
  const hasRun = (row) => row.isProbe && cell.blocks_run > 0;
  for (const row of rows.filter(hasRun)) context.fillRect(...box(row));
  const others = rows.filter((row) => !hasRun(row));
  if (cell.outcome === CORRECTED) {
    context.fillStyle = colours.corrected;
    context.globalAlpha = FAINTEST + (1 - FAINTEST) * Math.min(cell.weight ?? 0, 1);
    for (const row of others) context.fillRect(...box(row));
    context.globalAlpha = 1;
    for (const row of others) context.fillRect(x, row.top, width - gap, EDGE);
  } else if (cell.outcome === HELD && others.length) {
    hatch(context, x, others[0].top, width - gap, bottom - others[0].top, colours);
  }
}

function hatch(context, x, top, width, height, colours) {
  context.save();
  context.beginPath();
  context.rect(x, top, width, height);
  context.clip();
  context.strokeStyle = colours.corrected;
  context.lineWidth = 1;
  context.beginPath();
  // Lines of one family over the whole picture, so that neighbours join.
  const sum = Math.floor((x + top) / 4) * 4;
  for (let s = sum; s < x + width + top + height + 4; s += 4) {
    context.moveTo(s - top, top);
    context.lineTo(s - top - height, top + height);
  }
  context.stroke();
  context.restore();
}

function drawCurves(context, area, width, run, scale, colours) {
  const cells = run.lanes[0]?.cells.filter((cell) => cell.drift != null) ?? [];
  const base = area.top + area.height;
  line(context, [[0, base], [width, base]], colours.grid);
  if (!cells.length) return;
  const risk = Math.max(...cells.map((cell) => cell.risk ?? 0));
  const bounds = cells.map((cell) => cell.tolerance).filter((value) => value > 0);
  // A bound that is steered may be far away: the risk has the room, and the bound leaves the picture.
  const bound = Math.min(Math.max(...bounds, 0), Math.max(3 * risk, Math.min(...bounds, Infinity)));
  const height = (value, most) => base - (Math.min(value / most, 1.2) || 0) * area.height * 0.82;

  const steps = cells.flatMap((cell) => {
    const y = height(cell.risk ?? 0, Math.max(risk, bound));
    return [[cell.start * scale, y], [cell.end * scale, y]];
  });
  context.fillStyle = colours.risk;
  context.globalAlpha = 0.22;
  context.beginPath();
  context.moveTo(steps[0][0], base);
  for (const point of steps) context.lineTo(...point);
  context.lineTo(steps.at(-1)[0], base);
  context.fill();
  context.globalAlpha = 1;
  line(context, steps, colours.risk, 1.5);

  const tolerance = cells.filter((cell) => cell.tolerance > 0).flatMap((cell) => {
    const y = Math.max(height(cell.tolerance, Math.max(risk, bound)), area.top);
    return [[cell.start * scale, y], [cell.end * scale, y]];
  });
  line(context, tolerance, colours.tolerance, 1.5, [4, 3]);

  const drift = Math.max(...cells.map((cell) => cell.drift), 1e-12);
  const middle = (cell) => ((cell.start + cell.end) / 2) * scale;
  line(context, cells.map((cell) => [middle(cell), height(cell.drift, drift)]), colours.drift, 1.5);
}

function line(context, points, colour, width = 1, dashes = []) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dashes);
  context.beginPath();
  points.forEach((point, i) => (i ? context.lineTo(...point) : context.moveTo(...point)));
  context.stroke();
  context.setLineDash([]);
}
