// How the live view looks. Neutral colours are the theme's own. The others lean towards the colour of its text,
// so that they stand out on dark panels and on light ones: computed orange, corrected blue, as in the report. The
// swatches are where the canvas reads its colours from.

export const STYLE = `
:host {
  display: block;
  box-sizing: border-box;
  height: 100%;
  overflow: hidden;
  container-type: inline-size;
  color: var(--input-text, #ddd);
  font: 11px/1.35 var(--font-inter, Inter, system-ui, sans-serif);
  --panel: color-mix(in srgb, var(--comfy-input-bg, #222) 30%, var(--bg-color, #202020));
  --computed: color-mix(in srgb, #d98500 72%, var(--input-text, #ddd));
  --corrected: color-mix(in srgb, #2f8fe0 78%, var(--input-text, #ddd));
  --risk: var(--corrected);
  --tolerance: color-mix(in srgb, #f0532d 82%, var(--input-text, #ddd));
  --drift: color-mix(in srgb, #12a37f 78%, var(--input-text, #ddd));
  --muted: color-mix(in srgb, var(--input-text, #ddd) 72%, var(--panel));
  --faint: color-mix(in srgb, var(--input-text, #ddd) 9%, var(--panel));
}
.panel {
  box-sizing: border-box;
  height: 100%;
  display: flex;
  flex-direction: column;
  gap: 6px;
  padding: 8px 10px;
  border-radius: 8px;
  background: var(--panel);
  user-select: none;
}
.panel[data-idle] { padding: 5px 10px; }
.panel[data-idle] > :not(.note) { display: none; }
.numbers { display: grid; grid-template-columns: repeat(4, auto); justify-content: space-between; gap: 8px; margin: 0; }
.numbers div { display: flex; flex-direction: column-reverse; }
.numbers dt { color: var(--muted); font-size: clamp(8.5px, 3.9cqw, 11px); white-space: nowrap; }
.numbers dd { margin: 0; font-size: clamp(12px, 6.5cqw, 20px); line-height: 1.1; font-weight: 600; font-variant-numeric: tabular-nums; }
canvas { flex: 1 1 auto; width: 100%; height: 0; min-height: 60px; display: block; border-radius: 3px; }
canvas:focus-visible { outline: 2px solid var(--corrected); outline-offset: 2px; }
.key { display: flex; flex-wrap: wrap; gap: 1px 10px; margin: 0; padding: 0; list-style: none; font-size: 10px; }
.key li { display: flex; align-items: center; gap: 4px; color: var(--muted); }
.key i { width: 10px; height: 10px; border-radius: 2px; color: var(--swatch); transition: color 1ms; }
.key i.solid { background: currentColor; }
.key i.tiled { background: repeating-linear-gradient(currentColor 0 2.6px, transparent 2.6px 3.7px); }
.key i.hatched { background: repeating-linear-gradient(135deg, currentColor 0 1px, transparent 1px 3px); }
.key i.area { background: linear-gradient(currentColor 0 2px, color-mix(in srgb, currentColor 30%, transparent) 2px); }
.key i.line { height: 0; border-top: 2px solid; border-radius: 0; }
.key i.dashed { height: 0; border-top: 1.5px dashed; border-radius: 0; }
.note { flex: none; color: var(--muted); font-size: 10px; min-height: 1.35em; margin: 0; overflow-wrap: anywhere; }
.panel:not([data-idle]) .note { min-height: 5.4em; } /* four lines; where it takes more, the picture gives way */
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@container (max-width: 230px) { .key { gap: 1px 8px; font-size: 9px; } .panel { padding: 7px 8px; } }
@media (prefers-reduced-motion: reduce) { * { transition: none; } }
`;

// Entries of the key: name of the word, shape of the mark, its colour.
export const KEY = [
  ["computed", "solid", "--computed"],
  ["corrected", "tiled", "--corrected"],
  ["held", "hatched", "--corrected"],
  ["risk", "area", "--risk"],
  ["tolerance", "dashed", "--tolerance"],
  ["drift", "line", "--drift"],
];
