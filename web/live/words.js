// What the live view says. A language's own words are merged over these: locales/<language>/main.json,
// under "adacorrectionLive", with the same keys. What is in braces is filled in. What the server says in English
// (adacorrection_core/sentences.py) is there under "adacorrectionSays": `says` in the words of a page.

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
  setting: "{found}{cache}. {outlook}",
  cache: ", cache {value}",
  cell: "Step {step}, {branch}, {outcome}",
  weight: "weight {value}",
  driftIs: "drift {value}",
  expectedIs: "expected error {value}",
  measuredIs: "measured error {value}",
  riskIs: "risk {risk} of {tolerance}",
  took: "{value} ms",
};

export function fill(template, values) {
  return template.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Sentences of the server's in the language of the page; in English where that has no words for them.
export function say(sentences, words) {
  const said = ({ text, key, values }) => fill(words.says?.sentences[key] ?? text, values);
  return sentences.map(said).join(" ").replaceAll("\u3002 ", "\u3002"); // no space after an ideographic full stop
}
