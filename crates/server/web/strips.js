// The last half minute of the three lanes as three tracks: a tick for each poll, a bar for each held request, a line for
// the open socket, a red mark where one was cut. An upright line marks a publication, a dot where a lane learnt it: the
// way between is its lateness.

import { calm } from "./dom.js";

const WINDOW = 30_000; // ms
const FRAME = 50; // ms between two drawings
const FRAME_CALM = 1000;

export class Strips {
  #canvas;
  #lanes;
  #visible = false;
  #timer = 0;

  constructor(canvas, lanes) {
    this.#canvas = canvas;
    this.#lanes = lanes;
    new IntersectionObserver(([entry]) => {
      this.#visible = entry.isIntersecting;
      clearTimeout(this.#timer);
      if (this.#visible) this.#next();
    }).observe(canvas);
  }

  // A pause, then a frame: a loop of frames alone would make the browser work sixty times a second.
  #next() {
    const frame = () => {
      if (!this.#visible) return;
      this.#draw(performance.now());
      this.#next();
    };
    this.#timer = setTimeout(() => requestAnimationFrame(frame), calm.matches ? FRAME_CALM : FRAME);
  }

  #draw(now) {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    // The canvas takes its colours from the style sheet, where the theme is.
    const { color: faint, fill: news, stroke: line, outlineColor: bad } = getComputedStyle(canvas);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const { lanes } = this.#lanes;
    const track = height / 3;
    const right = width - 6;
    const x = (time) => right - ((now - time) / WINDOW) * right;
    const from = now - WINDOW;

    pen.lineWidth = 1;
    pen.strokeStyle = news;
    pen.setLineDash([2, 3]);
    for (const { published } of lanes.at(-1)?.dots ?? []) stroke(pen, x(published), 0, x(published), height);
    pen.setLineDash([]);
    lanes.forEach((lane, i) => {
      const y = track * (i + 0.62);
      pen.lineWidth = 1;
      pen.strokeStyle = faint;
      stroke(pen, 0, y, right, y);
      for (const span of lane.spans) {
        if ((span.to ?? now) < from) continue;
        pen.strokeStyle = line;
        const [start, end] = [Math.max(0, x(span.from)), x(span.to ?? now)];
        pen.lineWidth = 3;
        if (end - start > 3) stroke(pen, start, y, end, y);
        pen.lineWidth = 1.5;
        if (x(span.from) > 0) stroke(pen, start, y - 6, start, y + 6);
        if (!span.failed) continue;
        pen.strokeStyle = bad;
        stroke(pen, end, y - 8, end, y + 8);
      }
      pen.fillStyle = news;
      for (const { learnt } of lane.dots) if (learnt > from) dot(pen, x(learnt), y);
    });
  }
}

function stroke(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function dot(pen, x, y) {
  pen.beginPath();
  pen.arc(x, y, 5, 0, 2 * Math.PI);
  pen.fill();
}
