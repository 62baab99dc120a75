// Draws a dashboard as a picture, from its file and what Prometheus answered and from nothing else. It is our own drawing in Grafana's manner,
// not Grafana's: whoever shows it says so. Chromium makes the PNG.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DashboardFile, Panel } from '../support/dashboards.js';
import type { Choice, Shown, TargetData } from '../support/grafana.js';
import { runCommand } from '../support/run-command.js';
import { escaped, panelHtml } from './draw-panel.js';
import { type Size, sizeOf, withPalette } from './png.js';

const width = 1_440;
const edge = 12;
const gap = 8;
const headHeight = 64;
/** Of a dashboard's grid, as in Grafana: 24 columns, rows of 30 pixels and a gap. */
const columnWidth = (width - 2 * edge + gap) / 24;
const rowHeight = 38;

const style = `
  body { margin: 0; background: #111217; color: #ccccdc; font: 12px Inter, Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif; }
  .head { padding: 10px ${edge}px 0; }
  .head b { font-size: 17px; font-weight: 500; margin-right: 16px; }
  .head span { background: #181b1f; border: 1px solid #2c3235; border-radius: 2px; padding: 4px 8px; margin-right: 8px; line-height: 30px; }
  .head i { color: #8e8ea0; font-style: normal; margin-right: 6px; }
  .panel { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #25272c; border-radius: 2px; overflow: hidden; }
  .panel.of-row { background: none; border: none; }
  .row { font-size: 15px; font-weight: 500; line-height: 30px; }
  .title { font-size: 13px; font-weight: 500; padding: 7px 8px 0; height: 25px; box-sizing: border-box; white-space: nowrap; margin-bottom: 7px; }
  svg { display: block; } svg text { fill: #9fa1a8; font-size: 11px; }
  .legend { padding: 2px 8px; line-height: 18px; white-space: nowrap; }
  .legend span { margin-right: 14px; }
  .legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 5px; vertical-align: middle; }
  .stat { display: flex; flex-direction: column; justify-content: space-evenly; height: calc(100% - 38px); padding: 0 10px; }
  .number { display: flex; justify-content: space-between; align-items: baseline; gap: 8px; white-space: nowrap; }
  .number span { overflow: hidden; text-overflow: ellipsis; font-size: 13px; } .number b { font-weight: 500; }
  .none { font-size: 24px; text-align: center; margin-top: 30px; color: #8e8ea0; }
  table { width: 100%; border-collapse: collapse; font-size: 13px; }
  th { text-align: left; font-weight: 500; color: #6e9fff; } th, td { padding: 8px; border-bottom: 1px solid #25272c; white-space: nowrap; }
  .value { text-align: right; }`;

/** Writes a PNG. `data` is what each panel's queries found, in the order of the panels. */
export async function drawDashboard(
  dashboard: DashboardFile,
  data: readonly (readonly TargetData[])[],
  choice: Choice,
  shown: Shown,
  file: string,
): Promise<void> {
  const rows = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
  const panels = dashboard.panels.map((panel, index) => {
    const { x, y, w, h } = panel.gridPos;
    const size = { width: Math.round(w * columnWidth - gap), height: h * rowHeight - gap };
    const place = `left:${edge + x * columnWidth}px;top:${headHeight + y * rowHeight}px;width:${size.width}px;height:${size.height}px`;
    const kind = panel.type === 'row' ? 'panel of-row' : 'panel';
    return `<div class="${kind}" style="${place}">${panelHtml(titled(panel, choice), data[index] ?? [], shown, size)}</div>`;
  });
  const html = `<!doctype html><meta charset="utf-8"><style>${style}</style>${headHtml(dashboard, choice, shown)}${panels.join('')}`;
  await photograph(html, { width, height: headHeight + rows * rowHeight + edge - gap }, file);
}

/** With what is chosen in the title. A row that is repeated is drawn once: for the one job that is chosen. */
function titled(panel: Panel, choice: Choice): Panel {
  const repeated = choice[panel.repeat ?? ''] ?? [];
  if (panel.repeat !== undefined && repeated.length !== 1)
    throw new Error(`For a picture exactly one ${panel.repeat} must be chosen`);
  return {
    ...panel,
    title: panel.title.replaceAll(/\$(\w+)/g, (_match, name: string) => choice[name]?.[0] ?? ''),
  };
}

function headHtml({ title, templating }: DashboardFile, choice: Choice, { from, to }: Shown): string {
  const fields = templating.list
    .filter(({ type }) => type === 'query')
    .map(({ name }) => `<span><i>${name}</i>${escaped(choice[name]?.join(' + ') ?? 'All')}</span>`);
  const [start = '', end = ''] = [from, to].map((at) => new Date(at * 1_000).toISOString().slice(0, 19));
  const time = `<span><i>UTC</i>${start.replace('T', ' ')} to ${end.slice(11)}</span>`;
  return `<div class="head"><b>${escaped(title)}</b>${fields.join('')}${time}</div>`;
}

/** A picture of the page, of exactly this size. */
async function photograph(html: string, size: Size, file: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'picture-'));
  try {
    const page = join(folder, 'page.html');
    await writeFile(page, html);
    const first = sizeOf(await screenshot(folder, page, size));
    // The window has a frame, so what is seen of the page is smaller.
    const picture = await screenshot(folder, page, {
      width: 2 * size.width - first.width,
      height: 2 * size.height - first.height,
    });
    const got = sizeOf(picture);
    if (got.width !== size.width || got.height !== size.height)
      throw new Error(`The picture is ${got.width} × ${got.height}, not ${size.width} × ${size.height}`);
    await writeFile(file, withPalette(picture));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function screenshot(folder: string, page: string, size: Size): Promise<Buffer> {
  const file = join(folder, 'page.png');
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
    `--user-data-dir=${join(folder, 'profile')}`,
    `--window-size=${size.width},${size.height}`,
    `--screenshot=${file}`,
    pathToFileURL(page).href,
  ];
  await runCommand(process.env['CHROMIUM'] ?? 'chromium', args, { timeoutMs: 60_000 });
  return readFile(file);
}
