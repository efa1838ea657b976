// The door to the live view: finds the nodes, hands them the runs that the server tells of, lets them go.
// All that knows the host's page is here.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

import { LivePanel } from "./live/panel.js";
import { describeRun, readRun } from "./live/run.js";
import { WORDS } from "./live/words.js";

const NODE = "AdaCorrection";
const WIDGET = "adacorrection_live";
const EVENT = "adacorrection.run";
const ROUTE = "/adacorrection/runs";
const TEXT_EVENT = "progress_text";
const TEXT_WIDGET = "$$node-text-preview"; // the host's, for text that a node sends
const SETTING = "AdaCorrection.LiveView.Show";
const MARGIN = 6; // pixels around the panel on the classic canvas

let words = WORDS;
let asking = 0; // the timer that will ask the server for runs

const root = () => app.canvas?.graph?.rootGraph; // none before the page is set up

// The node that a run is about, in this workflow; ids of nodes in subgraphs are paths.
function findNode(run) {
  if (!root() || run.workflow !== root().id) return null;
  const path = String(run.node).split(":");
  const id = path.pop();
  const graph = path.reduce((inside, number) => inside?.getNodeById(Number(number))?.subgraph, root());
  return graph?.getNodeById(Number(id)) ?? null;
}

const findWidget = (node) => node?.widgets?.find((widget) => widget.name === WIDGET);

function show(message) {
  const run = readRun(message);
  if (run) findWidget(findNode(run))?.panel.update(run);
}

// The server's text on the node is English and says all. Once the host has shown it: in the page's language, and
// without the sentences that the panel has above it, for which the host leaves no room on the classic canvas.
function retell({ detail }) {
  queueMicrotask(() => {
    const node = app.canvas?.graph?.getNodeById(Number(String(detail.nodeId).split(":").pop()));
    const run = node?.comfyClass === NODE && findWidget(node)?.panel.run;
    const text = run && node.widgets.find((widget) => widget.name === TEXT_WIDGET);
    if (text) text.value = words.says ? describeRun(run, words) : text.value.split("\n")[0];
  });
}

// Runs that this page has missed: it was loaded in mid-run, or another workflow was in front.
async function catchUp() {
  asking = 0;
  const answer = await api.fetchApi(ROUTE);
  if (answer.ok) (await answer.json()).forEach(show);
}

function addPanel(node) {
  const panel = new LivePanel(words, () => growToFit(node));
  const widget = node.addDOMWidget(WIDGET, "ADACORRECTION_LIVE", panel.element, {
    serialize: false,
    hideOnZoom: false, // it tells most from far away
    margin: MARGIN,
    getMinHeight: () => panel.minHeight + 2 * MARGIN,
    getValue: () => undefined,
  });
  widget.serialize = false; // the option keeps it out of the prompt, this out of the workflow
  widget.panel = panel;
  handOn(panel.element, panel.listening.signal);
  const { onRemove } = widget;
  widget.onRemove = function () {
    panel.dispose();
    return onRemove?.apply(this, arguments);
  };
  asking ||= setTimeout(catchUp, 0);
}

// The classic canvas lies below the panel: zooming and panning go through to it. In Nodes 2.0 the host does that.
function handOn(element, signal) {
  const isClassic = () => !element.closest("[data-node-id]");
  const isMiddle = (event) => event.button === 1 || event.buttons === 4;
  const on = (type, isMeant, take) =>
    element.addEventListener(type, (event) => isClassic() && isMeant(event) && take(event), { signal });
  on("wheel", () => true, (event) => app.canvas.processMouseWheel(event));
  on("pointerdown", isMiddle, (event) => app.canvas.processMouseDown(event));
  on("pointermove", isMiddle, (event) => app.canvas.processMouseMove(event));
  on("pointerup", isMiddle, (event) => app.canvas.processMouseUp(event));
}

function growToFit(node) {
  const [width, height] = node.computeSize();
  if (node.size[0] < width || node.size[1] < height) {
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  }
  node.setDirtyCanvas(true, true);
}

// Every node of ours, in subgraphs too.
function* ownNodes(graph = root()) {
  for (const node of graph?.nodes ?? []) {
    if (node.comfyClass === NODE) yield node;
    if (node.subgraph) yield* ownNodes(node.subgraph);
  }
}

function toggle(isShown) {
  for (const node of ownNodes()) {
    const widget = findWidget(node);
    if (isShown && !widget) addPanel(node);
    if (!isShown && widget) node.removeWidget(widget);
    growToFit(node);
  }
}

const isShown = () => app.extensionManager.setting.get(SETTING) !== false;

app.registerExtension({
  name: "adacorrection.LiveView",
  settings: [
    {
      id: SETTING,
      category: ["AdaCorrection", "Live view", "Show"],
      name: "Show the live view on the node",
      tooltip: "A heat map of the steps, computed and corrected, while sampling.",
      type: "boolean",
      defaultValue: true,
      onChange: (value) => toggle(value),
    },
  ],
  async setup() {
    api.addEventListener(EVENT, ({ detail }) => show(detail));
    api.addEventListener("reconnected", catchUp);
    const languages = await (await api.fetchApi("/i18n")).json();
    const language = app.extensionManager.setting.get("Comfy.Locale");
    const { adacorrectionLive: live, adacorrectionSays: says } = languages[language] ?? {};
    words = { ...WORDS, ...live, says: language === "en" ? null : says };
    api.addEventListener(TEXT_EVENT, retell);
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE && isShown()) addPanel(node);
  },
  loadedGraphNode(node) {
    if (node.comfyClass === NODE) growToFit(node); // saved by a version without the view, say
  },
});
