/** A table as bars: how many operations each contestant made per second. */
import { BarChart } from 'echarts/charts';
import { GridComponent, TitleComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { Table } from './section.js';

echarts.use([BarChart, GridComponent, TitleComponent, SVGRenderer]);

const WIDTH = 900;
const ROW_HEIGHT = 26;

/** The chart as an SVG document. The axis is logarithmic: a queue and a disk are far apart. */
export function barChart({ title, standings, floor }: Table): string {
  const height = 90 + standings.length * ROW_HEIGHT;
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  const color = (name: string): string => (name === floor ? '#8a8a8a' : /^(loopstate|backend)/.test(name) ? '#2f6f4e' : '#b9a26a');
  chart.setOption({
    animation: false,
    title: { text: `${title}: operations per second`, left: 8, top: 8, textStyle: { fontSize: 14 } },
    grid: { left: 8, right: 70, top: 44, bottom: 8, containLabel: true },
    xAxis: { type: 'log' },
    yAxis: { type: 'category', inverse: true, data: standings.map(({ name }) => name), axisLabel: { fontSize: 11 } },
    series: [
      {
        type: 'bar',
        data: standings.map(({ name, perSecond }) => ({ value: Math.round(perSecond * 100) / 100, itemStyle: { color: color(name) } })),
        label: { show: true, position: 'right', fontSize: 11 },
      },
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
