// What the live view says. A language's own words are merged over these: locales/<language>/main.json,
// under "adacorrectionLive", with the same keys. What is in braces is filled in.

export const WORDS = {
  idle: "Live view: fills while sampling",
  computed: "computed",
  corrected: "corrected",
  held: "held",
  risk: "risk",
  tolerance: "tolerance",
  drift: "drift",
  blocksSaved: "blocks saved",
  secondsSaved: "saved",
  secondsTaken: "taken",
  hitRate: "hit rate",
  lane: "{branch}: {groups}",
  over: " over ",
  picture: "Steps of the run, left to right. Arrow keys move from step to step.",
  summary:
    "{place} {computed} computed, {corrected} corrected, {held} held. " +
    "{blocks} of the blocks and about {saved} s saved, {taken} s taken, hit rate {hitRate}.",
  step: "Step {step} of {steps}.",
  done: "{steps} steps done.",
  stopped: "Stopped at step {step} of {steps}.",
  cache: ", cache {value}",
  cell: "Step {step}, {branch}, {outcome}",
  weight: "weight {value}",
  why: "{reason}",
  driftIs: "drift {value}",
  expectedIs: "expected error {value}",
  measuredIs: "measured error {value}",
  riskIs: "risk {risk} of {tolerance}",
  took: "{value} ms",
};

export function fill(template, values) {
  return template.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
